"""Whose form a file has, and that a mistake is out of the way of whoever reads the rest."""

import json
from typing import Any

import msgspec
import pytest

from proxy.engine import FileUnreadable, read_file_text
from proxy.engine.file_text import is_flagd


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"flags": {}}, True),
        ({"flags": [], "$schema": "x"}, True),
        ({"flags": []}, False),
        ({"flags": [], "segments": []}, False),
        ([], False),
        (None, False),
        ({}, False),
    ],
)
def test_flagds_shape_is_recognised(document: Any, expected: bool) -> None:
    """Our own has a list of flags and nothing with a dollar sign."""
    assert is_flagd(document) is expected


@pytest.mark.parametrize(
    ("name", "text", "flagd"),
    [
        ("f.json", '{"flags": {"a": %s, "b": {}}}', True),
        ("f.json", '{"flags": [{"key": "a", "x": %s}]}', False),
        ("f.flagd", '{"$schema": "x", "flags": [%s]}', True),
    ],
)
@pytest.mark.parametrize("mistake", ["NaN", '"\\ud800"', '{"a": 1, "a": 1}', "[" * 70 + "]" * 70])
def test_what_is_returned_can_be_decoded(name: str, text: str, flagd: bool, mistake: str) -> None:
    """All of it, and the mistake is told."""
    found = read_file_text(name, (text % mistake).encode())
    msgspec.json.decode(found.text)
    assert (found.flagd is not None) is flagd
    assert len(found.flaws) == 1


def test_a_number_is_seen_that_only_a_whole_decoding_meets() -> None:
    """In a file of flagd; of our own, each item is decoded by itself, later."""
    found = read_file_text("f.json", b'{"flags": {"a": 1e999}}')
    assert found.flagd == {"flags": {"a": 0}}
    assert [flaw.pointer for flaw in found.flaws] == ["/flags/a"]
    assert read_file_text("f.json", b'{"flags": [1e999]}') == (b'{"flags": [1e999]}', [], None)


def test_yaml_is_the_json_it_stands_for() -> None:
    """By the name, whatever it looks like."""
    found = read_file_text("F.YAML", b"flags: [{key: on}]")
    assert json.loads(found.text) == {"flags": [{"key": "on"}]}
    with pytest.raises(FileUnreadable, match="at line 1, column"):
        read_file_text("f.json", b"flags: [{key: on}]")
