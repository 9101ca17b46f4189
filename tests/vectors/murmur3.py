"""MurmurHash3 x86 32, written from its description, to check the library's against.

Austin Appleby's public-domain `MurmurHash3_x86_32`: blocks of four bytes, little end first, a tail,
a finaliser. Slow, and plain on purpose.
"""

__all__ = ["bucket", "murmur3_x86_32"]

_MASK = 0xFFFFFFFF


def murmur3_x86_32(data: bytes, seed: int = 0) -> int:
    """Return the unsigned hash."""
    h = seed
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        h ^= _scrambled(int.from_bytes(data[start : start + 4], "little"))
        h = (_rotated(h, 13) * 5 + 0xE6546B64) & _MASK
    if tail := data[whole:]:
        h ^= _scrambled(int.from_bytes(tail, "little"))
    h ^= len(data)
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & _MASK
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & _MASK
    return h ^ (h >> 16)


def bucket(salt: str, unit: str) -> int:
    """Return the bucket by the formula of the flag model, for comparison."""
    return (murmur3_x86_32(f"{salt}.{unit}".encode()) * 100_000) >> 32


def _scrambled(k: int) -> int:
    return (_rotated((k * 0xCC9E2D51) & _MASK, 15) * 0x1B873593) & _MASK


def _rotated(x: int, by: int) -> int:
    return ((x << by) | (x >> (32 - by))) & _MASK
