"""JSON values as the bytes that version 3 of flagd's `fractional` hashes: CBOR, one way each.

RFC 8949, 4.2.1 (core deterministic encoding), with two rules of flagd's: a number without a
fraction is an integer where 64 bits hold it, so that `1` and `1.0` are one, and `-0.0` is 0.

Rules:
- Total: any JSON value, whatever its nesting; lone surrogates become U+FFFD.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

from proxy.engine.dialects.javascript import utf8

__all__ = ["encode", "encode_text"]

_NEGATIVE, _TEXT, _LIST, _MAP = 1, 3, 4, 5
_LEAST_INTEGER, _BEYOND_INTEGERS = -(2**63), 2**64
_HEADS = [[bytes((major << 5 | size,)) for size in range(24)] for major in range(6)]
_SMALL, _TEXTS, _LISTS = _HEADS[0], _HEADS[_TEXT], _HEADS[_LIST]
_LONGER = ((2**8, Struct(">BB").pack), (2**16, Struct(">BH").pack), (2**32, Struct(">BI").pack))
_LONGEST = Struct(">BQ").pack
_FLOATS = [
    (head, Struct(f">B{size}").pack, Struct(f">{size}").unpack_from)
    for head, size in ((0xF9, "e"), (0xFA, "f"), (0xFB, "d"))
]
_NOT_A_NUMBER = b"\xf9\x7e\x00"

_NESTED = 32
"""Levels that are encoded by recursion, which is fast; what is deeper, by a stack."""

_NAME_CHARS = 64
_NAMES = 4_096
"""Short texts kept encoded: contexts have the same few, as names of members above all. Beyond that
many all are forgotten; the look-up is what has to be fast."""

_ORDER_BYTES = 256
_ORDERS = 1_024
"""Orders of members that are kept: for the same reason, of objects whose names are short."""

_names: dict[str, bytes] = {}
_orders: dict[tuple[str, ...], tuple[bytes, list[tuple[bytes, str]]]] = {}


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
    size = len(written)
    return (_TEXTS[size] if size < 24 else _head(_TEXT, size)) + written


def _kept(value: str) -> bytes:
    """Return a text that is not among those that are kept; now it is, if it is short."""
    written = encode_text(value)
    if len(value) <= _NAME_CHARS:
        if len(_names) >= _NAMES:
            _names.clear()
        _names[value] = written
    return written


def _ordered(names: tuple[str, ...]) -> tuple[bytes, list[tuple[bytes, str]]]:
    """Return what begins an object, and its members in order, each name as bytes beside itself."""
    members = sorted([(_names.get(name) or _kept(name), name) for name in names])
    found = _head(_MAP, len(names)), members
    if sum([len(key) for key, _ in members]) <= _ORDER_BYTES:
        if len(_orders) >= _ORDERS:
            _orders.clear()
        _orders[names] = found
    return found


def encode(value: Any) -> bytes:
    """Return a JSON value."""
    return _WRITERS[value.__class__](value, 0)


# Those for lists and objects write the commonest kinds themselves: a call takes longer than that.


def _object(value: dict[str, Any], depth: int) -> bytes:
    if depth >= _NESTED:
        return _deep(value)
    depth += 1
    if len(value) == 1:
        [(name, item)] = value.items()
        key = b"\xa1" + (_names.get(name) or _kept(name))
        return key + _WRITERS[item.__class__](item, depth)
    if not value:
        return b"\xa0"
    names = tuple(value)
    head, members = _orders.get(names) or _ordered(names)
    parts = [head]
    for key, name in members:
        item = value[name]
        kind = item.__class__
        if kind is str:
            parts += key, _names.get(item) or _kept(item)
        elif kind is int:
            parts += key, _SMALL[item] if 0 <= item < 24 else _integer(item, depth)
        else:
            parts += key, _WRITERS[kind](item, depth)
    return b"".join(parts)


def _list(value: list[Any], depth: int) -> bytes:
    if depth >= _NESTED:
        return _deep(value)
    depth += 1
    size = len(value)
    if size == 1:
        item = value[0]
        return b"\x81" + _WRITERS[item.__class__](item, depth)
    parts = [_LISTS[size] if size < 24 else _head(_LIST, size)]
    for item in value:
        kind = item.__class__
        if kind is str:
            parts.append(_names.get(item) or _kept(item))
        elif kind is int:
            parts.append(_SMALL[item] if 0 <= item < 24 else _integer(item, depth))
        else:
            parts.append(_WRITERS[kind](item, depth))
    return b"".join(parts)


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
            out.append(node if kind is bytes else _WRITERS[kind](node, 0))
        else:
            stack.pop()
    return b"".join(out)


def _members(value: dict[str, Any]) -> Iterator[Any]:
    """Yield names, as bytes, and values in turn, ordered by the bytes of the names."""
    for key, name in _ordered(tuple(value))[1]:
        yield key
        yield value[name]


def _text(value: str, _depth: int) -> bytes:
    return _names.get(value) or _kept(value)


def _integer(value: int, depth: int) -> bytes:
    if 0 <= value < _BEYOND_INTEGERS:
        return _SMALL[value] if value < 24 else _head(0, value)
    if _LEAST_INTEGER <= value < 0:
        return _head(_NEGATIVE, -1 - value)
    try:
        return _number(float(value), depth)
    except OverflowError:  # no decoder of JSON gives such an integer to flagd
        return _number(float("inf") if value > 0 else float("-inf"), depth)


def _number(value: float, depth: int) -> bytes:
    """Return a number that may have a fraction, in as few bytes as hold it exactly."""
    if value.is_integer() and _LEAST_INTEGER <= value < _BEYOND_INTEGERS:
        return _integer(int(value), depth)
    for head, pack, unpack in _FLOATS:
        try:
            written = pack(head, value)
        except OverflowError:
            continue
        if unpack(written, 1)[0] == value:
            return written
    return _NOT_A_NUMBER


_WRITERS: dict[type, Callable[[Any, int], bytes]] = {
    dict: _object,
    list: _list,
    str: _text,
    int: _integer,
    float: _number,
    bool: lambda value, _depth: b"\xf5" if value else b"\xf4",
    type(None): lambda _value, _depth: b"\xf6",
}
"""By the class of a value. The second argument is how far within another it is."""
