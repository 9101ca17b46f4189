"""The hashes that split units, ours and those of other systems, and the number they give a context.

A hash is a pure function of a key, bytes, and a seed to an unsigned integer: `HASHES`. Which bytes
make the key, and how the integer is reduced, is data of a rule program (`program.Bucketing`);
`number_of` makes that a function of the context. Only MurmurHash3 takes a seed; the others are
given 0 and do not look at it.

Where a system compares floating-point numbers, its formula grows with the integer hash, so that
each comparison has a cut point among the integers, exactly: `first_number` finds it. A range of
numbers is then all that is left of any system's percentages.

    murmur3_32          MurmurHash3 x86 32: ours, Unleash, flagd since core 0.15
    murmur3_32_abs      the absolute value of the same, taken as signed: flagd before that
    fnv1a_32            FNV-1a of bytes: GO Feature Flag
    fnv1a_32_utf16      FNV-1a of 16-bit code units; its key is UTF-16, low byte first: GrowthBook 1
    fnv1a_32_utf16_x2   FNV-1a of the decimal of `fnv1a_32_utf16`: GrowthBook 2
    sha1_60             the first 15 hexadecimal digits of SHA-1: LaunchDarkly
    crc32               CRC-32 of IEEE 802.3: Flipt
    md5_9999            MD5 modulo 9,999, without 9,998: Flagsmith

Rules:
- Fixed for ever: another number for the same key would move users.
- Nothing here raises, for any context.
"""

from collections.abc import Callable
from hashlib import md5, sha1
from operator import methodcaller
from typing import Any
from zlib import crc32

from fnv_hash_fast import fnv1a_32
from mmh3 import mmh3_32_uintdigest

from proxy.engine.paths import split_path, walk
from proxy.engine.program import Bucketing, Operand, Part

__all__ = ["HASHES", "HASH_BITS", "NO_NUMBER", "first_number", "number_of"]

NO_NUMBER = -1
"""What a context has that lacks a part of the key."""

_MASK_32 = 2**32 - 1
_FNV_PRIME = 16_777_619
_FNV_BASIS = 2_166_136_261

_MD5_NUMBERS = 9_999
_MD5_WHOLE = 9_998
"""The number that stands for exactly 100 %, which Flagsmith draws again."""


def _murmur3_32_abs(key: bytes, seed: int) -> int:
    """Return |h| of the signed hash: 0 to 2**31, both included."""
    h = mmh3_32_uintdigest(key, seed)
    return h if h <= 2**31 else 2**32 - h


def _fnv1a_32(key: bytes, _seed: int) -> int:
    return fnv1a_32(key)


def _fnv1a_32_utf16(key: bytes, _seed: int) -> int:
    """Return FNV-1a where each step takes a whole code unit, which is what JavaScript's does.

    For code units below 256 that is FNV-1a of the low bytes.
    """
    low, high = key[::2], key[1::2]
    if not high.strip(b"\0"):
        return fnv1a_32(low)
    h = _FNV_BASIS
    for one, other in zip(low, high + b"\0", strict=False):  # of odd length only by mistake
        h = ((h ^ one ^ other << 8) * _FNV_PRIME) & _MASK_32
    return h


def _fnv1a_32_utf16_x2(key: bytes, _seed: int) -> int:
    return fnv1a_32(b"%d" % _fnv1a_32_utf16(key, 0))


def _sha1_60(key: bytes, _seed: int) -> int:
    return int.from_bytes(sha1(key, usedforsecurity=False).digest()[:8], "big") >> 4


def _crc32(key: bytes, _seed: int) -> int:
    return crc32(key)


def _md5_9999(key: bytes, _seed: int) -> int:
    """Return a number from 0 to 9,997 of a key that is the objects' identifiers joined by commas.

    Flagsmith makes the MD5 modulo 9,999 a percentage by `/ 9998 * 100`. For 9,998 that is exactly
    100, which no range holds, so it hashes the list of identifiers written twice instead, then
    three times, and so on until it is another number. Written twice, the list is the key, a comma
    and the key again. Each round is needed once in 9,999 times; there is no key known that never
    leaves, and finding one would mean steering MD5 in every round.
    """
    text = key
    while True:
        digest = md5(text, usedforsecurity=False).digest()
        number = int.from_bytes(digest, "big") % _MD5_NUMBERS
        if number != _MD5_WHOLE:
            return number
        text += b"," + key


HASHES: dict[str, Callable[[bytes, int], int]] = {
    "murmur3_32": mmh3_32_uintdigest,
    "murmur3_32_abs": _murmur3_32_abs,
    "fnv1a_32": _fnv1a_32,
    "fnv1a_32_utf16": _fnv1a_32_utf16,
    "fnv1a_32_utf16_x2": _fnv1a_32_utf16_x2,
    "sha1_60": _sha1_60,
    "crc32": _crc32,
    "md5_9999": _md5_9999,
}
"""From a name to a function of key and seed. Each is called with positional arguments."""

HASH_BITS = {
    "murmur3_32": 32,
    "murmur3_32_abs": 32,
    "fnv1a_32": 32,
    "fnv1a_32_utf16": 32,
    "fnv1a_32_utf16_x2": 32,
    "sha1_60": 60,
    "crc32": 32,
    "md5_9999": 14,
}
"""How many bits a hash needs: it is below `2 ** HASH_BITS[name]`."""


def number_of(bucketing: Bucketing) -> Callable[[dict[str, Any]], int]:
    """Return the function from a context to its number, `NO_NUMBER` where a part is missing.

    Every part's `encode` is asked, also about the None of an attribute that is missing. A size is
    wanted, and positive, where numbers are reduced to it.
    """
    match bucketing.key:
        case (Part() as part,):
            return _of_one(b"", part, b"", bucketing)
        case (bytes() as before, Part() as part):
            return _of_one(before, part, b"", bucketing)
        case (Part() as part, bytes() as after):
            return _of_one(b"", part, after, bucketing)
        case (bytes() as before, Part() as part, bytes() as after):
            return _of_one(before, part, after, bucketing)
    return _of_several(bucketing)


def _of_one(
    before: bytes, part: Part, after: bytes, bucketing: Bucketing
) -> Callable[[dict[str, Any]], int]:
    """Return the number of nearly every split: of one part of the context between constants.

    All that is done for it is in one function, because calling several took as long as hashing.
    """
    fetch, encode = _fetch(part), part.encode
    hashed, seed, size = HASHES[bucketing.hash], bucketing.seed, bucketing.size

    def plain(context: dict[str, Any]) -> int:
        text = encode(fetch(context))
        return NO_NUMBER if text is None else hashed(before + text + after, seed)

    def modulo(context: dict[str, Any]) -> int:
        text = encode(fetch(context))
        return NO_NUMBER if text is None else hashed(before + text + after, seed) % size

    def scale(context: dict[str, Any]) -> int:
        text = encode(fetch(context))
        return NO_NUMBER if text is None else (hashed(before + text + after, seed) * size) >> 32

    return {"none": plain, "modulo": modulo, "scale": scale}[bucketing.reduce]


def _of_several(bucketing: Bucketing) -> Callable[[dict[str, Any]], int]:
    """Return the number of a key with any number of parts."""
    pieces = [part if isinstance(part, bytes) else _written(part) for part in bucketing.key]
    hashed, seed, size = HASHES[bucketing.hash], bucketing.seed, bucketing.size
    reduced: dict[str, Callable[[int], int]] = {
        "none": lambda number: number,
        "modulo": lambda number: number % size,
        "scale": lambda number: (number * size) >> 32,
    }
    reduce = reduced[bucketing.reduce]

    def number(context: dict[str, Any]) -> int:
        key = b""
        for piece in pieces:
            text = piece if isinstance(piece, bytes) else piece(context)
            if text is None:
                return NO_NUMBER
            key += text
        return reduce(hashed(key, seed))

    return number


def _written(part: Part) -> Callable[[dict[str, Any]], bytes | None]:
    fetch, encode = _fetch(part), part.encode
    return lambda context: encode(fetch(context))


def _fetch(part: Part) -> Callable[[dict[str, Any]], Any]:
    """Return what finds the attribute of a part."""
    if isinstance(part.attribute, Operand):
        return part.attribute.fetch
    name = part.attribute
    steps = split_path(name)
    if steps is None:
        return methodcaller("get", name)
    return lambda context: context[name] if name in context else walk(context, steps)


def first_number(size: int, holds: Callable[[int], bool]) -> int:
    """Return the smallest number below `size` for which a test holds, or `size` when none does.

    The test must be monotone: where it holds for a number it holds for all that are larger.
    `first_number(2**60, lambda h: not h / (2**60 - 1) < 0.5)` is the end of the range that a system
    calls the first half. Asks as often as `size` has bits.
    """
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
