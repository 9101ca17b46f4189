"""Files of flagd and files in YAML are checked as a sidecar would take them."""

import json

import pytest

from control_plane.validation.project import check_files
from control_plane.validation.report import findings

FLAGD = """{"$schema": "x", "flags": {
  "good": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"},
  "twice": {"state": "ENABLED",
    "variants": {"on": true, "on": false}},
  "mixed": {"state": "ENABLED", "variants": {"on": true,
    "n": 1}, "defaultVariant": "on"},
  "nan": {"state": "ENABLED", "variants": {"on": NaN}}
}}
"""
FLAGD_YAML = """flags:
  good: {state: ENABLED, variants: {on: true}, defaultVariant: on}
  twice:
    state: ENABLED
    variants: {on: true, off: false}
    state: DISABLED
  mixed:
    state: ENABLED
    variants: {on: true, n: 1}
"""
OURS = """flags:
- {key: a, type: boolean, value: true}
- key: b
  type: boolean
  value: 1
- key: c
  type: boolean
  colour: red
  value: true
- key: a
  type: string
  value: x
"""


def found(name: str, text: str) -> list[tuple[int, str, str]]:
    """Return line, pointer and message of what is wrong with a file."""
    checked = check_files([(name, text.encode())])
    return [(each.line, each.pointer, each.message) for each in findings(checked)]


def test_a_file_of_flagd_is_checked() -> None:
    """Every flag of it, at its line, as an import would."""
    assert [(line, where) for line, where, _ in found("flags.flagd.json", FLAGD)] == [
        (4, "/flags/twice/variants/on"),
        (5, "/flags/mixed/variants"),
        (7, "/flags/nan/variants/on"),
    ]
    (checked,) = check_files([("flags.json", FLAGD.encode())])
    assert checked.counts.flags == 4


def test_a_good_one_has_no_problems() -> None:
    """With what only flagd's files have."""
    flag = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
    assert (
        found("f.json", json.dumps({"$schema": "x", "$evaluators": {}, "flags": {"a": flag}})) == []
    )
    assert found("f.yaml", FLAGD_YAML.partition("  twice")[0]) == []


def test_yaml_of_flagd_is_checked() -> None:
    """With the lines of the YAML."""
    assert [(line, where) for line, where, _ in found("f.YML", FLAGD_YAML)] == [
        (4, "/flags/twice/state"),
        (9, "/flags/mixed/variants"),
    ]


def test_yaml_of_ours_is_checked() -> None:
    """In every respect that JSON is."""
    told = found("f.yaml", OURS)
    assert [(line, where) for line, where, _ in told] == [
        (5, "/flags/1/value"),
        (8, "/flags/2/colour"),
        (10, "/flags/3/key"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "line", "why"),
    [
        (
            "f.yaml",
            "x: {variations: {a: 1}, defaultRule: {variation: a}}",
            1,
            "matrixflag import goff",
        ),
        ("f.json", '{"features": {}}', 1, "this looks like a GrowthBook file"),
        ("f.yaml", "flags: [", 1, "it is no YAML"),
        ("f.json", '{"$schema": "x",\n"flags": {"a": {', 2, "the file ends within the document"),
    ],
)
def test_what_no_sidecar_serves_is_told_in_one_line(
    name: str, text: str, line: int, why: str
) -> None:
    """And nothing that follows from it."""
    ((at, _, message),) = found(name, text)
    assert at == line
    assert why in message
