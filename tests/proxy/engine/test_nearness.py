"""The name that was meant, when one letter of it is not as it should be."""

import pytest

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import (
    Condition,
    EnvironmentConfig,
    Flag,
    Prerequisite,
    Rule,
    Segment,
    Serve,
)
from proxy.engine import check_flag
from proxy.engine.findings import Findings
from proxy.engine.nearness import meant

NAMES = ["on", "off", "beta", "Payments-API", "value-1"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("onn", "on"),
        ("of", "off"),
        ("ebta", "beta"),
        ("beat", "beta"),
        ("betta", "beta"),
        ("Beta", "beta"),
        ("payments-ap", "Payments-API"),
        ("value-2", "value-1"),
        ("", None),
        ("x", None),
        ("gamma", None),
        ("betaaa", None),
        ("payments", None),
    ],
)
def test_what_differs_in_one_place_is_meant(name: str, near: str | None) -> None:
    """And what differs more is another name."""
    hint = "" if near is None else f"did you mean {near!r}?"
    assert meant(name, NAMES, Findings()) == hint


def test_names_that_cannot_be_listed_are_none() -> None:
    """Of some it is only known whether one is there."""

    class Any:
        def __contains__(self, _: object) -> bool:
            return True

    assert meant("onn", Any(), Findings()) == ""


def test_not_every_name_of_a_hostile_document_is_looked_for() -> None:
    """What was looked at is counted, and there is an end to it."""
    findings = Findings()
    hints = [meant("bet", ["x" * 3] * 10_000 + ["beta"], findings) for _ in range(100)]
    assert set(hints) == {""}
    assert 10_000 < findings.spent < 20_000
    assert meant("betta", NAMES, findings) == ""


def test_names_of_variants_segments_and_flags_are_hinted_at() -> None:
    """Where an author can have misspelled one."""
    config = EnvironmentConfig(
        Serve(variant="onn"),
        prerequisites=[Prerequisite("paymets", ["on"])],
        rules=[Rule(Condition(segment="bta"), Serve(variant="on"))],
    )
    flag = Flag("f", "boolean", {"on": True, "off": False}, {"production": config})
    other = Flag("payments", "boolean", {"on": True}, {})
    found = check_flag(flag, {"beta": Segment("beta")}, {"payments": other})
    assert {(p.code, p.hint) for p in found} == {
        (ProblemCode.UNKNOWN_VARIANT, "did you mean 'on'?"),
        (ProblemCode.UNKNOWN_SEGMENT, "did you mean 'beta'?"),
        (ProblemCode.UNKNOWN_FLAG, "did you mean 'payments'?"),
    }
