"""The server-side OpenFeature clients behind one function: what an application sees of a case.

Clients in other languages are a program each, which reads cases, one JSON object a line, and writes
for each a line with what the application saw, until its input ends. It judges nothing. It is given
the sidecar's URL and, as `NAME=VALUE`, the headers that its provider shall send.
"""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationDetails
from openfeature.provider.no_op_provider import NoOpProvider

from tests.clients.cases import Case, Outcome
from tests.support.tools import missing, require

__all__ = ["NODE_MODULES", "Ask", "Seen", "asked", "asking", "seen"]

_HERE = Path(__file__).parent
NODE_MODULES = _HERE / "node_modules"
_GO = _HERE / "go/target/ofrep"
_JAVA = _HERE / "java/target"
_END_S = 30.0


class Seen(NamedTuple):
    """What an application has after an evaluation; `message` is for its log."""

    outcome: Outcome
    message: str


Ask = Callable[[Case], Seen]


@contextmanager
def asking(client: str, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Ask]:
    """Run a client, `python`, `node`, `go` or `java`, against a sidecar."""
    running = _python if client == "python" else _program
    with running(client, url, headers or {}) as ask:
        yield ask


@contextmanager
def _python(_client: str, url: str, headers: Mapping[str, str]) -> Iterator[Ask]:
    domain = uuid.uuid4().hex
    api.set_provider_and_wait(OFREPProvider(url, headers_factory=lambda: dict(headers)), domain)
    client = api.get_client(domain)

    def ask(case: Case) -> Seen:
        attributes = dict(case.context)
        key = attributes.pop("targetingKey", None)
        context = EvaluationContext(targeting_key=key, attributes=attributes)
        evaluate = getattr(client, f"get_{case.kind}_details")
        details: FlagEvaluationDetails[object] = evaluate(case.flag, case.default, context)
        outcome = Outcome(
            details.value,
            str(details.reason),
            details.variant,
            None if details.error_code is None else str(details.error_code.value),
            dict(details.flag_metadata or {}),
        )
        return Seen(outcome, details.error_message or "")

    try:
        yield ask
    finally:
        api.set_provider(NoOpProvider(), domain)  # which shuts the other one down


@contextmanager
def _program(client: str, url: str, headers: Mapping[str, str]) -> Iterator[Ask]:
    command = [*_command(client), url, *(f"{name}={headers[name]}" for name in headers)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(case: Case) -> Seen:
            print(json.dumps(asked(case)), file=stdin, flush=True)
            line = stdout.readline()
            assert line, f"the client ended with status {process.wait(_END_S)}"
            return seen(case, json.loads(line))

        try:
            yield ask
            stdin.close()
            assert process.wait(_END_S) == 0
        finally:
            process.kill()


def _command(client: str) -> list[str | Path]:
    if client == "go":
        return [_GO]
    if client == "java":
        classes = (_JAVA / "classpath").read_text().strip()
        return [require("java"), "-cp", f"{_JAVA / 'classes'}:{classes}", "Ofrep"]
    if not (NODE_MODULES / "@openfeature/ofrep-provider").is_dir():
        missing("the npm packages of tests/clients (tests/clients/install)")
    return [require("node"), _HERE / "ofrep.mjs"]


def asked(case: Case) -> dict[str, Any]:
    """Return what a program is told of a case."""
    return {
        "flag": case.flag,
        "kind": case.kind,
        "default": case.default,
        "context": case.context,
    }


def seen(case: Case, answer: dict[str, Any]) -> Seen:
    """Return what a program told of an evaluation."""
    value = answer["value"]
    if case.kind == "float" and type(value) is int:
        value = float(value)  # JavaScript has one type of number
    reason, variant, error = answer["reason"], answer["variant"], answer["error"]
    return Seen(Outcome(value, reason, variant, error, answer["metadata"]), answer["message"])
