"""The npm OFREP provider in the OpenFeature server SDK: `ofrep.mjs` asks, these tests compare.

One Node process evaluates every case, because starting one costs more than all evaluations.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.cases import CASES, DEFINITIONS, Case, Outcome, with_flag
from tests.clients.conftest import Served
from tests.support.tools import missing, require

_HERE = Path(__file__).parent
_SCRIPT = _HERE / "ofrep.mjs"
_NODE_S = 60.0


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node, the packages being installed."""
    if not (_HERE / "node_modules/@openfeature/ofrep-provider").is_dir():
        missing("the npm packages of tests/clients (tests/clients/install)")
    return require("node")


def _ask(node: str, url: str, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return what the application saw of each case, in order."""
    asked = [
        {"flag": c.flag, "kind": c.kind, "default": c.default, "context": c.context} for c in cases
    ]
    run = subprocess.run(
        [node, _SCRIPT, url, "evaluate"],
        input="".join(json.dumps(a) + "\n" for a in asked),
        capture_output=True,
        text=True,
        timeout=_NODE_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(cases)
    return answers


@pytest.fixture(scope="module")
def answers(node: str, served: Served) -> dict[str, dict[str, Any]]:
    """What the application saw of each case, by the case's name."""
    return {
        case.name: answer for case, answer in zip(CASES, _ask(node, served.url, CASES), strict=True)
    }


def _same(value: Any) -> str:
    """Return a value's JSON, whole floats as integers: JavaScript does not tell them apart."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, sort_keys=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_application_gets_what_was_defined(
    answers: dict[str, dict[str, Any]], case: Case
) -> None:
    """Value, reason, variant, error code and metadata come through the provider unharmed."""
    expected = case.node or case.expected
    seen = answers[case.name]
    outcome = Outcome(
        seen["value"], seen["reason"], seen["variant"], seen["error"], seen["metadata"]
    )
    assert _same(outcome.value) == _same(expected.value)  # true is not 1
    assert outcome == expected


@pytest.mark.parametrize(
    "case", [c for c in CASES if (c.node or c.expected).error], ids=lambda case: case.name
)
def test_an_error_says_what_is_wrong(answers: dict[str, dict[str, Any]], case: Case) -> None:
    """The application's log shows the message, and a person needs it."""
    assert answers[case.name]["message"]


def test_a_changed_definition_is_noticed(node: str, changeable: Served) -> None:
    """The provider caches nothing: once the sidecar has read the file, the next call shows it."""
    watch = [node, str(_SCRIPT), changeable.url, "watch", "text"]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == "blue"
        flag = {"key": "text", "type": "string", "value": "green", "enabled": True}
        changeable.write(with_flag(DEFINITIONS, flag))
        assert json.loads(process.stdout.readline()) == "green"
        assert process.wait(_NODE_S) == 0


def test_without_a_sidecar_the_application_has_its_default(node: str, unused_tcp_port: int) -> None:
    """Nobody listening is an error to look at, not an exception to crash on."""
    case = CASES[0]
    (answer,) = _ask(node, f"http://127.0.0.1:{unused_tcp_port}", [case])
    assert answer["value"] == case.default
    assert answer["error"] == "GENERAL"
