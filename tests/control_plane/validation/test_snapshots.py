"""A file that is a snapshot."""

import pytest

from proxy.contract.definitions import (
    Condition,
    FlagDefinition,
    Rule,
    SegmentDefinition,
    Serve,
    UnitList,
    UnitLists,
)
from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import (
    SCHEMA,
    EntryKind,
    SnapshotHeader,
    encode_entry,
    encode_snapshot,
)
from tests.control_plane.validation.builders import SIMPLE, found

BETA = SegmentDefinition(Condition(attribute="plan", op="equals", values=["beta"]))
ON_FOR_BETA = FlagDefinition(
    "boolean",
    {"on": True, "off": False},
    Serve(variant="off"),
    "salt",
    enabled=True,
    rules=[Rule(Condition(segment="beta"), Serve(variant="on"), "r")],
)


def snapshot(*entries: tuple[EntryKind, str, object], **header: object) -> bytes:
    """Return the body of a snapshot."""
    digest = SnapshotDigest()
    lines = []
    for kind, key, definition in entries:
        lines.append(encode_entry(kind, key, definition))
        digest.put(kind, key, lines[-1])
    values = {"schema": SCHEMA, "digest": digest.hexdigest(), "entries": len(lines)} | header
    fixed = {"project": "p", "environment": "e", "epoch": "x", "revision": 1, "created_at": "t"}
    return encode_snapshot(SnapshotHeader(**(fixed | values)), lines)  # type: ignore[arg-type]


GOOD = snapshot(("segment", "beta", BETA), ("flag", "a", ON_FOR_BETA))


def test_a_snapshot_that_is_served_has_no_problems() -> None:
    """Beside other files, of which it takes no notice."""
    assert found(GOOD, {"flags": [SIMPLE]}) == []


@pytest.mark.parametrize(
    ("data", "place", "code", "pointer"),
    [
        (snapshot(("flag", "a", ON_FOR_BETA)), (2, 174), "unknown_segment", "/def/rules/0/when"),
        (GOOD.replace(b'"on":true', b'"on":0'), (1, None), "value_disagrees", "/digest"),
        (GOOD.replace(b'"on":true', b'"on":0000'), (3, None), "malformed_json", ""),
        (GOOD.replace(b'"on":true', b'"on":0'), (3, None), "value_type", "/def/variants/on"),
        (GOOD.replace(b'"plan"', b"5"), (2, 59), "wrong_type", "/def/when/attribute"),
        (GOOD.replace(b'"key":"a"', b'"kee":"a"'), (3, 16), "unknown_field", "/kee"),
        (GOOD.replace(b'"segment","key"', b'"segm","key"'), (2, 9), "out_of_range", "/kind"),
        (GOOD.replace(b'"enabled"', b'"enabled":true,"enabled"'), (3, None), "duplicate_key", ""),
        (GOOD + b"\n", (4, 1), "malformed_json", ""),
        (GOOD[:-1], (3, 1), "malformed_json", ""),
        (GOOD + GOOD.split(b"\n")[1] + b"\n", (4, 25), "duplicate_key", "/key"),
        (GOOD + b"[" * 100 + b"\n", (4, 65), "too_deep", ""),
        (GOOD.replace(b'"beta"]', b"1e999]"), (2, 90), "number_out_of_range", "/def"),
        (snapshot(entries=7), (1, None), "value_disagrees", "/entries"),
        (snapshot(revision=-1), (1, None), "out_of_range", "/revision"),
        (snapshot(schema="2.0"), (1, None), "out_of_range", "/schema"),
        (b'{"schema":"1.0"}\n', (1, 1), "missing_field", "/digest"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    data: bytes, place: tuple[int, int | None], code: str, pointer: str
) -> None:
    """Pointers are into the line."""
    matching = [
        (p.line, place[1] and p.column)
        for p in found(data)
        if p.code == code and p.pointer.startswith(pointer)
    ]
    assert place in matching, found(data)


def test_long_lists_are_elsewhere() -> None:
    """Their blobs are fetched by sidecars, so that a file without them is as it should be."""
    long = SegmentDefinition(units=UnitLists(included=UnitList(5_000, ["0" * 64, "1" * 64])))
    problems = found(snapshot(("segment", "beta", long), ("flag", "a", ON_FOR_BETA)))
    assert [(p.code, p.severity, p.line) for p in problems] == [("missing_blob", "warning", 2)]
