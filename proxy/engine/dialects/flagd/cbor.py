"""JSON values as the bytes that version 3 of flagd's `fractional` hashes: CBOR, one way each.

RFC 8949, 4.2.1 (core deterministic encoding), with two rules of flagd's: a number without a
fraction is an integer where 64 bits hold it, so that `1` and `1.0` are one, and `-0.0` is 0.

Rules:
- Total: any JSON value, whatever its nesting; lone surrogates become U+FFFD.
"""

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Any

from proxy.engine.dialects.javascript import utf8

__all__ = ["encode", "encode_text"]

_NEGATIVE, _TEXT, _LIST, _MAP = 1, 3, 4, 5
_LEAST_INTEGER, _BEYOND_INTEGERS = -(2**63), 2**64
_HEADS = [[bytes((major << 5 | size,)) for size in range(24)] for major in range(6)]
_LONGER = ((2**8, Struct(">BB").pack), (2**16, Struct(">BH").pack), (2**32, Struct(">BI").pack))
_LONGEST = Struct(">BQ").pack
_FLOATS = ((b"\xf9", Struct(">e")), (b"\xfa", Struct(">f")), (b"\xfb", Struct(">d")))
_SIMPLE: dict[Any, bytes] = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}

_NESTED = 32
"""Levels that are encoded by recursion, which is fast; what is deeper, by a stack."""

_NAME_CHARS = 64
_NAMES = 4_096
"""Short texts kept encoded: contexts have the same few, as names of members above all."""


def _head(major: int, size: int) -> bytes:
    """Return the type and the number that begin an item, in as few bytes as hold it."""
    if size < 24:
        return _HEADS[major][size]
    for more, (limit, pack) in enumerate(_LONGER):
        if size < limit:
            return pack(major << 5 | 24 + more, size)
    return _LONGEST(major << 5 | 27, size)


def encode_text(value: str) -> bytes:
    """Return a text."""
    written = utf8(value)
    return _head(_TEXT, len(written)) + written


_kept_name = lru_cache(_NAMES)(encode_text)


def _name(value: str) -> bytes:
    return _kept_name(value) if len(value) <= _NAME_CHARS else encode_text(value)


def encode(value: Any, depth: int = 0) -> bytes:
    """Return a JSON value; `depth` is how far within another it is."""
    kind = value.__class__
    if kind is dict:
        if not value:
            return b"\xa0"
        if depth >= _NESTED:
            return _deep(value)
        depth += 1
        if len(value) == 1:
            [(name, item)] = value.items()
            return b"\xa1" + _name(name) + encode(item, depth)
        members = sorted([(_name(name), name) for name in value])
        parts = [_head(_MAP, len(value))]
        for key, name in members:
            parts += (key, encode(value[name], depth))
        return b"".join(parts)
    if kind is list:
        if not value:
            return b"\x80"
        if depth >= _NESTED:
            return _deep(value)
        depth += 1
        return _head(_LIST, len(value)) + b"".join([encode(item, depth) for item in value])
    if kind is str:
        return _name(value)
    if kind is int:
        return _HEADS[0][value] if 0 <= value < 24 else _number(value)
    return _number(value) if kind is float else _SIMPLE[value]


def _deep(value: Any) -> bytes:
    """Return a list or an object, however deep."""
    out: list[bytes] = []
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for node in stack[-1]:
            kind = node.__class__
            if kind is dict:
                out.append(_head(_MAP, len(node)))
                stack.append(_members(node))
                break
            if kind is list:
                out.append(_head(_LIST, len(node)))
                stack.append(iter(node))
                break
            # bytes are a name, made by `_members`
            out.append(node if kind is bytes else encode(node))
        else:
            stack.pop()
    return b"".join(out)


def _members(value: dict[str, Any]) -> Iterator[Any]:
    """Yield names, as bytes, and values in turn, ordered by the bytes of the names."""
    for key, name in sorted([(_name(name), name) for name in value]):
        yield key
        yield value[name]


def _number(value: int | float) -> bytes:
    if value == value and _LEAST_INTEGER <= value < _BEYOND_INTEGERS:
        whole = int(value)
        if whole == value:
            return _head(0, whole) if whole >= 0 else _head(_NEGATIVE, -1 - whole)
    try:
        exact = float(value)
    except OverflowError:  # no decoder of JSON gives such an integer to flagd
        exact = float("inf") if value > 0 else float("-inf")
    for major, form in _FLOATS:
        try:
            short = form.pack(exact)
        except OverflowError:
            continue
        if form.unpack(short)[0] == exact:
            return major + short
    return b"\xf9\x7e\x00"  # not a number
