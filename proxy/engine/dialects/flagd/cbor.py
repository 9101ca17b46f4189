"""JSON values as the bytes that version 3 of flagd's `fractional` hashes: CBOR, one way each.

RFC 8949, 4.2.1 (core deterministic encoding), with two rules of flagd's: a number without a
fraction is an integer where 64 bits hold it, so that `1` and `1.0` are one, and `-0.0` is 0.

Rules:
- Total: any JSON value, whatever its nesting; lone surrogates become U+FFFD.
"""

from collections.abc import Iterator
from struct import pack, unpack
from typing import Any

from proxy.engine.dialects.javascript import utf8

__all__ = ["encode", "encode_text"]

_NEGATIVE, _TEXT, _LIST, _MAP = 1, 3, 4, 5
_LEAST_INTEGER, _BEYOND_INTEGERS = -(2**63), 2**64
_SIMPLE: dict[Any, bytes] = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}


def _head(major: int, size: int) -> bytes:
    """Return the type and the number that begin an item, in as few bytes as hold it."""
    if size < 24:
        return bytes((major << 5 | size,))
    for more, (limit, form) in enumerate(((2**8, ">BB"), (2**16, ">BH"), (2**32, ">BI"))):
        if size < limit:
            return pack(form, major << 5 | 24 + more, size)
    return pack(">BQ", major << 5 | 27, size)


def encode_text(value: str) -> bytes:
    """Return a text."""
    written = utf8(value)
    return _head(_TEXT, len(written)) + written


def encode(value: Any) -> bytes:
    """Return a JSON value."""
    if value.__class__ is str:
        return encode_text(value)
    out: list[bytes] = []
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for node in stack[-1]:
            kind = node.__class__
            if kind is str:
                out.append(encode_text(node))
            elif kind is dict:
                out.append(_head(_MAP, len(node)))
                stack.append(_members(node))
                break
            elif kind is list:
                out.append(_head(_LIST, len(node)))
                stack.append(iter(node))
                break
            elif kind is bytes:  # a key, made by `_members`
                out.append(node)
            elif kind is int or kind is float:
                out.append(_number(node))
            else:
                out.append(_SIMPLE[node])
        else:
            stack.pop()
    return b"".join(out)


def _members(value: dict[str, Any]) -> Iterator[Any]:
    """Yield keys, as bytes, and values in turn, ordered by the bytes of the keys."""
    keyed = {encode_text(name): child for name, child in value.items()}
    for key in sorted(keyed):
        yield key
        yield keyed[key]


def _number(value: int | float) -> bytes:
    if value == value and _LEAST_INTEGER <= value < _BEYOND_INTEGERS and value == int(value):
        whole = int(value)
        return _head(0, whole) if whole >= 0 else _head(_NEGATIVE, -1 - whole)
    try:
        exact = float(value)
    except OverflowError:  # no decoder of JSON gives such an integer to flagd
        exact = float("inf") if value > 0 else float("-inf")
    for major, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            short = pack(form, exact)
        except OverflowError:
            continue
        if unpack(form, short)[0] == exact:
            return major + short
    return b"\xfb" + pack(">d", exact)
