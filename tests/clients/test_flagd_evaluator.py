"""Files of flagd, evaluated here and by flagd's own evaluator in JavaScript: no answer differs.

That evaluator has version 2 of `fractional`, as flagd's server. Where it differs from the server,
which is in Go and which this follows, flags are not drawn: operands of the JSON Logic are of the
types that an author means, or missing; the key of a `fractional` is there, and ASCII, as others
have another hash in JavaScript. Seeded, so that a failure comes again.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import IO, Any

import pytest
from msgspec import UNSET

from proxy.engine.dialects.flagd import DIALECT
from tests.clients.asking import NODE_MODULES
from tests.conformance.harness import compile_translations
from tests.support.tools import missing, require

Json = dict[str, Any]

FILES, FLAGS, CONTEXTS = 60, 6, 8
"""In each block: 2,880 evaluations."""

VARIANTS: dict[str, Json] = {
    "text": {"a": "A", "b": "", "c": "\U0001f600", "true": "yes", "false": "no"},
    "number": {"a": 0, "b": 1.5, "c": -1e21, "true": 2**53, "false": 1},
    "boolean": {"a": True, "b": False, "c": True, "true": True, "false": False},
    "object": {"a": {}, "b": {"n": [1, None]}, "c": {"x": {"y": ""}}, "true": {}, "false": {}},
}
NAMES: list[Any] = ["a", "b", "c", True, False, None]
VERSIONS = ["1.2.3", "v1.2.3", "1.2", "2", "1.2.3-beta.1", "1.2.3-beta.11", "1.2.3+build", "V1.9.0"]
TEXTS = ["", "a", "B", "pro", "free", "u@example.com", "\U0001f600", "\u00e9", "10", "9"]


class Drawn:
    """Draws files of flagd and contexts."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)

    def file(self) -> Json:
        """Return a file of flags f0, f1, ..."""
        evaluators = {"pro": self.condition(2), "split": self.fractional(1)}
        made: Json = {
            "flags": {f"f{number}": self.flag() for number in range(FLAGS)},
            "$evaluators": evaluators,
        }
        if self.draw.random() < 0.5:
            made["metadata"] = {"set": "s", "both": 1, "on": True}
        return made

    def flag(self) -> Json:
        """Return a flag, mostly with targeting."""
        chance = self.draw.random
        made: Json = {
            "state": "ENABLED",
            "variants": self.draw.choice(list(VARIANTS.values())),
        }
        if chance() < 0.8:
            made["defaultVariant"] = self.draw.choice(["a", "b", "c"])
        if chance() < 0.95:
            made["targeting"] = self.result(3)
            if not isinstance(made["targeting"], dict):
                made["targeting"] = {}
        if chance() < 0.5:
            made["metadata"] = {"both": 2.5, "flag": "f"}
        return made

    def result(self, depth: int) -> Any:
        """Return what comes to the name of a variant, to none, or to one that there is not."""
        kind = self.draw.random()
        if depth and kind < 0.5:
            chain: list[Any] = []
            for _ in range(self.draw.randrange(1, 3)):
                chain += [self.condition(2), self.result(depth - 1)]
            return {"if": [*chain, self.result(depth - 1)]}
        if depth and kind < 0.75:
            return self.fractional(depth - 1)
        if kind < 0.85:
            return self.draw.choice([{"var": "name"}, {"var": ["missing", "b"]}, {"$ref": "split"}])
        return self.draw.choice([*NAMES, "nobody"])

    def fractional(self, depth: int) -> Json:
        """Return a split: of the targeting key, or of a key of its own."""
        seed = {"cat": ["salt-", {"var": "email"}]}
        key = self.draw.choice([[], [], [seed], [{"var": "email"}], [{"var": "targetingKey"}]])
        weights: list[Any] = [1, 10, 25, 50, 0, -1, 2**20]
        weights += [{"if": [self.condition(0), 90, 10]}, {"+": [{"var": "n"}, 5]}]
        arms = [
            [
                self.draw.choice([*NAMES[:3], {"if": [self.condition(0), "a", "b"]}]),
                *[self.draw.choice(weights)] * (self.draw.random() < 0.9),
            ]
            for _ in range(self.draw.randrange(1, 5))
        ]
        return {"fractional": [*key, *arms]}

    def condition(self, depth: int) -> Json:
        """Return a condition over attributes of one type each."""
        if depth and self.draw.random() < 0.4:
            name = self.draw.choice(["and", "or", "!"])
            count = 1 if name == "!" else self.draw.randrange(1, 4)
            return {name: [self.condition(depth - 1) for _ in range(count)]}
        email, plan, number = {"var": "email"}, {"var": "user.plan"}, {"var": "n"}
        signs = ["=", "!=", "<", "<=", ">", ">=", "^", "~"]
        return self.draw.choice(
            [
                {self.draw.choice(["==", "===", "!=", "!=="]): [plan, self.draw.choice(TEXTS[1:])]},
                {self.draw.choice(["===", "!=="]): [number, self.draw.choice([0, 1, 2.5, -3])]},
                {self.draw.choice(["<", "<=", ">", ">="]): [number, self.draw.choice([0, 2, -1])]},
                {"<": [-2, number, 3]},
                {"in": [plan, self.draw.sample(TEXTS[1:], 3)]},
                {"in": [self.draw.choice(TEXTS[1:]), email]},
                {self.draw.choice(["starts_with", "ends_with"]): [email, self.draw.choice(TEXTS)]},
                {"sem_ver": [{"var": "v"}, self.draw.choice(signs), self.draw.choice(VERSIONS)]},
                {"==": [{"%": [number, 2]}, 0]},
                {"!!": [{"var": "beta"}]},
                {"==": [{"var": "$flagd.flagKey"}, "f1"]},
            ]
        )

    def context(self) -> Json:
        """Return a context, which may lack anything but what splits and numbers need."""
        choose = self.draw.choice
        made: Json = {
            "targetingKey": f"u-{self.draw.randrange(10**6)}",
            "user": {"plan": choose(TEXTS)},
            "v": choose([*VERSIONS, "junk", "1.2.3.4", "01.2.3"]),
            "beta": choose([True, False]),
            "name": choose(["a", "true", "nobody"]),
        }
        kept = {name: value for name, value in made.items() if self.draw.random() < 0.9}
        email = choose([text for text in TEXTS[1:] if text.isascii()])
        return {**kept, "email": email, "n": choose([0, 1, 2, 2.5, -3, 10])}


@pytest.fixture(scope="module")
def evaluator() -> Iterator[subprocess.Popen[str]]:
    """flagd's evaluator, running."""
    node = require("node")
    if not (NODE_MODULES / "@openfeature/flagd-core").is_dir():
        missing("the packages of tests/clients/install")
    program = Path(__file__).with_name("flagd.mjs")
    command = [node, str(program)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()


def asked(program: subprocess.Popen[str], question: Json) -> list[Json]:
    """Return what flagd's evaluator answers."""
    given: IO[str] | None = program.stdin
    assert given is not None
    assert program.stdout is not None
    print(json.dumps(question), file=given, flush=True)
    found: list[Json] = json.loads(program.stdout.readline())
    return found


def answered(file: Json, contexts: list[Json]) -> list[Json]:
    """Return what is answered here, in the same words."""
    found = DIALECT.read(file, {})
    assert [flag.key for flag in found.flags] == list(file["flags"])
    flags = compile_translations(
        {
            flag.key: DIALECT.translate(flag.key, flag.definition, flag.options, flag.enabled)
            for flag in found.flags
        },
        metadata={flag.key: dict(flag.metadata) for flag in found.flags},
    )
    said = []
    for key in file["flags"]:
        for context in contexts:
            answer = flags.evaluate(key, dict(context), 0)
            is_error = answer.error_code is not None
            said.append(
                {
                    "value": None if is_error or answer.value is UNSET else answer.value,
                    "variant": answer.variant or None,
                    "reason": "ERROR" if is_error else str(answer.reason),
                    "error": answer.error_code,
                    "metadata": {} if is_error else answer.metadata,
                }
            )
    return said


@pytest.mark.parametrize("block", range(4))
def test_no_answer_differs(evaluator: subprocess.Popen[str], block: int) -> None:
    """Value, variant, reason, error and metadata; of every kind there are some."""
    reasons: set[str] = set()
    for number in range(FILES):
        drawn = Drawn(block * FILES + number)
        file = drawn.file()
        contexts = [drawn.context() for _ in range(CONTEXTS)]
        theirs = asked(evaluator, {"file": file, "keys": list(file["flags"]), "contexts": contexts})
        ours = answered(file, contexts)
        places = [(key, context) for key in file["flags"] for context in contexts]
        for (key, context), one, other in zip(places, ours, theirs, strict=True):
            assert one == other, (file["flags"][key], file["$evaluators"], context)
            reasons.add(one["reason"])
    assert reasons == {"STATIC", "DEFAULT", "TARGETING_MATCH", "ERROR"}
