"""What counts as a difference between two answers."""

from typing import Any

import pytest

from proxy.comparing.differences import ASPECTS, differences

ON = {"key": "f", "value": True, "variant": "on", "reason": "STATIC"}


def found(one: Any, other: Any, aspects: tuple[str, ...] = ASPECTS) -> dict[str, Any]:
    """Return what differs of one flag, by aspect."""
    for difference in differences({"f": one}, {"f": other}, ["f"], aspects):
        return difference.aspects
    return {}


@pytest.mark.parametrize(
    ("change", "aspects"),
    [
        ({}, {}),
        ({"value": False}, {"value": (True, False)}),
        ({"value": 1}, {"value": (True, 1)}),
        ({"value": None}, {"value": (True, None)}),
        ({"variant": "true"}, {"variant": ("on", "true")}),
        ({"reason": "SPLIT"}, {"reason": ("STATIC", "SPLIT")}),
        ({"metadata": {"a": 1}}, {}),
    ],
)
def test_values_variants_and_reasons_are_compared(change: Any, aspects: Any) -> None:
    """Each by itself; metadata is everybody's own."""
    assert found(ON, {**ON, **change}) == aspects


def test_only_what_is_wanted_is_compared() -> None:
    """Servers may call variants what they like."""
    other = {**ON, "variant": "true", "reason": "SPLIT"}
    assert found(ON, other, ("value",)) == {}


def test_no_value_is_no_value_however_it_is_said() -> None:
    """Left out or null, with no variant or an empty one."""
    assert found({"reason": "DISABLED", "variant": ""}, {"reason": "DISABLED", "value": None}) == {}


def test_errors_are_alike_when_their_codes_are() -> None:
    """Details are for people."""
    one = {"errorCode": "PARSE_ERROR", "errorDetails": "a"}
    assert found(one, {"errorCode": "PARSE_ERROR"}) == {}
    differs = found(one, {"errorCode": "GENERAL"})
    assert differs["error"] == ("PARSE_ERROR", "GENERAL")
    assert found(ON, one)["error"] == (None, "PARSE_ERROR")


def test_a_flag_of_one_server_only_is_a_difference() -> None:
    """It is as if the other had answered that there is none."""
    [difference] = differences({"f": ON}, {}, ["f", "g"], ASPECTS)
    assert difference.flag == "f"
    assert difference.aspects["error"] == (None, "FLAG_NOT_FOUND")
