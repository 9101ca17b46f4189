"""The reference pages say what the code does: settings, metrics, codes, links."""

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from control_plane.metrics import METRICS as CONTROL_PLANE_METRICS
from proxy.contract.codes import ErrorCode, ProblemCode, Reason
from proxy.contract.definitions import Condition, FlagDefinition, Rule, Serve
from proxy.contract.fleet import InstanceState
from proxy.contract.snapshot import RefusalReason
from proxy.engine import compile_flag
from proxy.engine.operators import OPERATORS
from proxy.engine.times import parse_moment
from proxy.metrics import METRICS as SIDECAR_METRICS
from tests.support.reference import DOCS, ROOT, TABLES, api_codes, between

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
_ALL_TEXT = "\n".join(page.read_text() for page in PAGES)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)([^)#\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize(("page", "name"), TABLES, ids=lambda part: str(part))
def test_a_reference_table_is_what_the_code_says(page: str, name: str) -> None:
    """`python -m tests.support.reference` rewrites a table that fell behind."""
    found = between(name).search((DOCS / page).read_text())
    assert found is not None
    assert found[2] == TABLES[page, name]


def documented_codes() -> set[str]:
    """Return the codes that have a row in docs/error-codes.md."""
    text = (DOCS / "error-codes.md").read_text()
    return set(re.findall(r"^\| `([A-Za-z_]+)` \|", text, re.MULTILINE))


def test_every_code_has_a_row_and_every_row_a_code() -> None:
    """Somebody who meets a code finds what to do about it; nothing is explained that is not."""
    codes = {*api_codes(), *map(str, ProblemCode), *map(str, ErrorCode), *map(str, Reason)}
    assert documented_codes() == codes


def alerts() -> list[tuple[str, str]]:
    """Return metrics that rules for alerts name, with what follows them in braces."""
    rules = "\n".join(re.findall(r"^ *expr: (.*)$", _ALL_TEXT, re.MULTILINE))
    return re.findall(r"(matrixflag_\w+)(?:\{(.*?)\})?", rules)


@pytest.mark.parametrize(("metric", "chosen"), alerts())
def test_an_alert_can_fire(metric: str, chosen: str) -> None:
    """Its metrics, their labels and the values it waits for are those that there are."""
    known = {row.name: row for row in (*SIDECAR_METRICS, *CONTROL_PLANE_METRICS.values())}
    row = known[metric]
    values = {"state": get_args(InstanceState), "reason": get_args(RefusalReason)}
    for label, texts in re.findall(r'(\w+)=~?"(.*?)"', chosen):
        assert label in row.labels, metric
        assert set(texts.split("|")) <= set(values[label]), metric


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A moved page takes its links along."""
    for target, _ in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def operator_examples() -> list[tuple[str, str, str]]:
    """Return the operator, condition and context of each row of docs/targeting.md."""
    found = between("operators").search((DOCS / "targeting.md").read_text())
    assert found is not None
    return re.findall(r"^\| `(\w+)` \|[^|]*\| `(.+?)` \| `(.+?)` \|$", found[2], re.MULTILINE)


def test_every_operator_has_an_example() -> None:
    """And nothing is promised that there is not."""
    assert [operator for operator, _, _ in operator_examples()] == list(OPERATORS)


@pytest.mark.parametrize(("operator", "condition", "context"), operator_examples())
def test_an_example_of_an_operator_holds(operator: str, condition: str, context: str) -> None:
    """Served by the rule for its context, and not for a context of something else."""
    when = msgspec.json.decode(condition, type=Condition)
    assert when.op == operator
    rule = Rule(when, Serve(variant="yes"), "example")
    definition = FlagDefinition(
        "string", {"yes": "y", "no": "n"}, Serve(variant="no"), "s", enabled=True, rules=[rule]
    )
    flag = compile_flag("f", definition, {})
    assert flag.problems == ()
    assert flag.evaluate(json.loads(context), 0).value == "y"
    opposite = msgspec.structs.replace(when, negate=True)
    turned = msgspec.structs.replace(rule, when=opposite)
    flag = compile_flag("f", msgspec.structs.replace(definition, rules=[turned]), {})
    assert flag.evaluate(json.loads(context), 0).value == "n"


def examples_of_now() -> list[tuple[str, str]]:
    """Return the condition and the time of each row of the second table."""
    found = between("operators of now").search((DOCS / "targeting.md").read_text())
    assert found is not None
    return re.findall(r"^\| `(\{.+?\})` \| `(.+?)` \|$", found[2], re.MULTILINE)


def test_every_operator_of_the_time_has_an_example_without_an_attribute() -> None:
    """And no other has."""
    shown = {json.loads(condition)["op"] for condition, _ in examples_of_now()}
    assert shown == {name for name, operator in OPERATORS.items() if operator.timed}


@pytest.mark.parametrize(("condition", "now"), examples_of_now())
def test_an_example_of_the_time_holds(condition: str, now: str) -> None:
    """At its time; and negated not."""
    now_ms = parse_moment(now)
    assert now_ms is not None
    for negate, value in ((False, "y"), (True, "n")):
        when = msgspec.json.decode(json.dumps({**json.loads(condition), "negate": negate}))
        rule = Rule(msgspec.convert(when, Condition), Serve(variant="yes"), "example")
        definition = FlagDefinition(
            "string", {"yes": "y", "no": "n"}, Serve(variant="no"), "s", enabled=True, rules=[rule]
        )
        flag = compile_flag("f", definition, {})
        assert flag.problems == ()
        assert flag.evaluate({}, now_ms).value == value


def test_the_glossary_is_in_order() -> None:
    """So that a word can be found."""
    words = re.findall(r"^\| \*\*([a-z ]+)\*\*", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert words == sorted(words)
    assert len(words) > 30


def test_the_threat_model_names_tests_that_there_are() -> None:
    """What is said to be tested is."""
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "threat-model.md").read_text()))
    there = {
        found
        for path in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named - there == set()
    assert len(named) > 50
