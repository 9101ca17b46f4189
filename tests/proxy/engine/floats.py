"""Single precision, as systems written in Go and Java compute; Python has only double."""

import struct

__all__ = ["float32"]

_DIGITS = 24


def float32(number: float) -> float:
    """Return the nearest number of single precision, half to even, rounded once.

    An integer of more than 53 bits must not become a double on the way: that would be a first
    rounding, which can make a tie of what was none.
    """
    if not isinstance(number, int):
        return float(struct.unpack("f", struct.pack("f", number))[0])
    shift = max(0, number.bit_length() - _DIGITS)
    whole, rest = number >> shift, number & ((1 << shift) - 1)
    half = 1 << shift >> 1
    up = rest > half or (shift > 0 and rest == half and whole & 1)
    return float((whole + bool(up)) << shift)
