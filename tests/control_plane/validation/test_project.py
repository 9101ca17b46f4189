"""Several files as one project."""

import pytest

from control_plane.validation.project import check_files
from proxy.engine import check_flag, check_segment
from tests.control_plane.validation.builders import SIMPLE, found, full, places

BETA = {"key": "beta", "when": {"attribute": "plan", "op": "in", "values": ["beta"]}}


def named(segment: str) -> dict[str, object]:
    """Return a flag with a rule for a segment."""
    return full(rules=[{"when": {"segment": segment}, "serve": {"variant": "on"}}])


def test_a_flag_names_a_segment_of_another_file() -> None:
    """In whatever order the files are given."""
    assert found({"flags": [named("beta")]}, BETA) == []
    assert found(BETA, {"flags": [named("beta")]}) == []
    assert [p.code for p in found({"flags": [named("beta")]})] == ["unknown_segment"]


def test_prerequisites_are_looked_up_in_all_files() -> None:
    """The flag, its variants, and circles, told where they are asked for."""
    asks = full("b", prerequisites=[{"flag": "a", "variants": ["on"]}])
    assert found(asks, SIMPLE) == []
    assert [p.code for p in found(asks)] == ["unknown_flag"]
    odd = full("b", prerequisites=[{"flag": "a", "variants": ["onn"]}])
    at = "/environments/production/prerequisites/0/variants/0"
    assert places(odd, SIMPLE) == {("0", at, "unknown_variant")}
    circle = full("a", prerequisites=[{"flag": "b", "variants": ["on"]}])
    assert {(p.file, p.code) for p in found(asks, circle)} == {
        ("0", "prerequisite_cycle"),
        ("1", "prerequisite_cycle"),
    }


def test_what_could_not_be_read_is_not_missing() -> None:
    """A mistake in a segment or a flag makes no problems for those that name them."""
    asks = full("b", prerequisites=[{"flag": "a", "variants": ["anything"]}])
    assert places(asks, {"key": "a", "type": "bool"}) == {
        ("1", "/type", "out_of_range"),
    }
    assert places(named("beta"), {"segments": [{"key": "beta", "when": 3}]}) == {
        ("1", "/segments/0/when", "wrong_type"),
    }
    assert places(named("beta"), {"segments": [{"key": "beta", "include": "x"}]}) == {
        ("1", "/segments/0/include", "unknown_field"),
    }


def test_a_unit_that_is_none_hides_no_other() -> None:
    """Of targets and of lists, each unit is looked at for itself."""
    targets = [{"variant": "on", "units": ["a", 5]}, {"variant": "off", "units": ["a", ""]}]
    at = "/environments/production/targets"
    assert places(full(targets=targets)) == {
        ("0", f"{at}/0/units/1", "wrong_type"),
        ("0", f"{at}/1/units/0", "duplicate_unit"),
        ("0", f"{at}/1/units/1", "out_of_range"),
    }
    segment = {"key": "s", "included": ["a", 5, 6], "excluded": ["a", None]}
    assert places(segment) == {
        ("0", "/included/1", "wrong_type"),
        ("0", "/included/2", "wrong_type"),
        ("0", "/excluded/0", "duplicate_unit"),
        ("0", "/excluded/1", "wrong_type"),
    }


@pytest.mark.parametrize("again", [{"flags": [SIMPLE, SIMPLE]}, {"flags": [SIMPLE]}])
def test_a_key_that_is_given_twice_is_told_with_both_places(again: dict[str, object]) -> None:
    """In one file or in two; the second is where it is wrong."""
    problems = found({"flags": [SIMPLE]}, again)
    assert {p.code for p in problems} == {"duplicate_key"}
    assert all(p.file == "1" and p.pointer.endswith("/key") for p in problems)
    assert all(p.message.endswith("the first is at 0:1:20") for p in problems)
    assert len(problems) == len(again["flags"])  # type: ignore[arg-type]


def test_a_flag_and_a_segment_may_have_one_key() -> None:
    """They are of different kinds."""
    assert found({"flags": [SIMPLE], "segments": [{"key": "a"}]}) == []


def test_circles_and_nesting_of_segments_are_found_across_files() -> None:
    """Only those that hang together are looked at for one, and that is enough."""
    ring = [{"key": f"s{n}", "when": {"segment": f"s{(n + 1) % 3}"}} for n in range(3)]
    codes = [(p.file, p.code) for p in found(*ring, BETA)]
    assert codes == [("0", "segment_cycle"), ("1", "segment_cycle"), ("2", "segment_cycle")]
    chain = [
        {"key": f"s{n}", "when": {"any": [{"not": {"segment": f"s{n + 1}"}}]}} for n in range(20)
    ]
    files = [*chain, {"key": "s20", "when": {"all": []}}]
    assert {p.code for p in found(*files)} == {"segment_too_deep"}


def test_the_checks_are_those_of_the_api() -> None:
    """The engine's own functions, not others beside them."""
    module = check_files.__globals__
    assert (module["check_flag"], module["check_segment"]) == (check_flag, check_segment)
