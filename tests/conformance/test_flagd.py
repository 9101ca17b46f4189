"""flagd-testbed: its evaluator suite, and of its provider suites what evaluation decides.

A provider stands between its scenarios and the evaluator: it has the code's own default and checks
types. `_Provider` is that, as small as it can be; everything else is the engine's. The testbed
serves its files merged to one, so that they share evaluators, but for those that a selector names.

Of `gherkin/` the parts left out test flagd's own provider or server, not what a flag answers:
`config`, `connection`, `events`, `rpc-caching`, `selector` and `sync-payload`. `contextEnrichment`
is about what a provider adds to contexts by itself.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import UNSET

from proxy.engine.answers import Answer
from proxy.engine.dialects.flagd import DIALECT
from tests.conformance.gherkin import Case, Step, cases
from tests.conformance.harness import CompiledFlags, compile_translations, suite

TESTBED = suite("flagd-testbed")

NOW_MS = 1_760_000_000_000
"""After the time that `timestamp-flag` calls past, and before the one it calls future."""

VERSIONS = ("v1", "v2", "v3")

EVALUATOR = [c for f in sorted(TESTBED.glob("evaluator/gherkin/*.feature")) for c in cases(f)]
TARGETING = list(cases(TESTBED / "gherkin/targeting.feature"))
EVALUATION = list(cases(TESTBED / "gherkin/evaluation.feature"))
DISABLED = list(cases(TESTBED / "gherkin/disabled.feature"))
METADATA = list(cases(TESTBED / "gherkin/metadata.feature"))

SELECTED = "selector-"
ALL_FLAGS = tuple(
    sorted(
        f"flags/{file.name}"
        for file in TESTBED.glob("flags/*.json")
        if not file.name.startswith(SELECTED)
    )
)


def _merged(names: tuple[str, ...]) -> dict[str, Any]:
    """Return files as one, as the testbed merges them."""
    whole: dict[str, Any] = {"flags": {}, "$evaluators": {}, "metadata": {}}
    for name in names:
        document = json.loads((TESTBED / name).read_text(encoding="utf-8"))
        for member, part in whole.items():
            assert not part.keys() & document.get(member, {}).keys()
            part.update(document.get(member, {}))
    return whole


def _compiled(names: tuple[str, ...], version: str) -> CompiledFlags:
    """Return the flags of files, read and compiled as an import does."""
    document = _merged(names)
    imported = DIALECT.read(document, {"fractional": version})
    assert len(imported.flags) == len(document["flags"])
    return compile_translations(
        {
            flag.key: DIALECT.translate(flag.key, flag.definition, flag.options, flag.enabled)
            for flag in imported.flags
        },
        metadata={flag.key: dict(flag.metadata) for flag in imported.flags},
    )


class _Sets(dict[tuple[tuple[str, ...], str], CompiledFlags]):
    """Files compiled once, by their names and a version."""

    def __missing__(self, key: tuple[tuple[str, ...], str]) -> CompiledFlags:
        compiled = self[key] = _compiled(*key)
        return compiled


SETS = _Sets()


def _with_numbers(text: str) -> Any:
    """Return a value of JSON; of members of one name the last."""
    return json.loads(text.replace('\\"', '"'))


TYPES: dict[str, Callable[[str], Any]] = {
    "String": str,
    "Integer": int,
    "Float": float,
    "Boolean": lambda text: text.lower() == "true",
    "Object": _with_numbers,
}

CLASSES: dict[str, tuple[type, ...]] = {
    "String": (str,),
    "Integer": (int, float),
    "Float": (int, float),
    "Boolean": (bool,),
    "Object": (dict, list),
}


class _Provider:
    """What a scenario talks to."""

    def __init__(self, files: tuple[str, ...], version: str) -> None:
        self.context: dict[str, Any] = {}
        self.kind = self.key = ""
        self.fallback: Any = None
        self._flags = SETS[files, version]
        self.value: Any = None
        self.reason: str | None = None
        self.error = ""
        self.metadata: dict[str, Any] = {}

    def evaluate(self) -> None:
        """Ask, and answer the fallback where there is no value."""
        answer: Answer = self._flags.evaluate(self.key, self.context, NOW_MS)
        self.value = self.fallback if answer.value is UNSET else answer.value
        self.reason = answer.reason
        self.error = answer.error_code or ""
        self.metadata = answer.metadata
        if answer.value is not UNSET and not isinstance(answer.value, CLASSES[self.kind]):
            self.value, self.error = self.fallback, "TYPE_MISMATCH"


def _flag(provider: _Provider, kind: str, key: str, fallback: str) -> None:
    provider.kind, provider.key = kind, key
    provider.fallback = TYPES[kind](fallback) if fallback else TYPES["String"](fallback)


def _attribute(provider: _Provider, key: str, kind: str, value: str) -> None:
    provider.context[key] = TYPES[kind](value)


def _targeting_key(provider: _Provider, value: str) -> None:
    provider.context["targetingKey"] = value


def _nested(provider: _Provider, outer: str, inner: str, value: str) -> None:
    provider.context[outer] = {inner: value}


def _value_is(provider: _Provider, wanted: str) -> None:
    assert provider.value == TYPES[provider.kind](wanted)
    assert not (isinstance(provider.value, bool) and provider.kind != "Boolean")


def _reason_is(provider: _Provider, wanted: str) -> None:
    assert provider.reason == wanted


def _error_is(provider: _Provider, wanted: str) -> None:
    assert provider.error == wanted


def _metadata_has(provider: _Provider, step: Step) -> None:
    names, *rows = step.table
    assert rows
    for row in rows:
        cells = dict(zip(names, row, strict=True))
        assert provider.metadata[cells["key"]] == TYPES[cells["metadata_type"]](cells["value"])


def _metadata_is_empty(provider: _Provider) -> None:
    assert provider.metadata == {}


_ANY = r'"(.*)"'
VOCABULARY: list[tuple[str, Callable[..., None]]] = [
    (r"an evaluator|a (?:stable|metadata) flagd provider", lambda _provider: None),
    (r'an option "(?:cache|selector)" of type "\w+" with value ".*"', lambda _provider: None),
    (rf'a (\w+)-flag with key "(.*?)" and a (?:default|fallback) value {_ANY}', _flag),
    (rf'a context containing a key "(.*?)", with type "(\w+)" and with value {_ANY}', _attribute),
    (rf"a context containing a targeting key with value {_ANY}", _targeting_key),
    (
        r"a context containing a nested property with outer key"
        rf' "(.*?)" and inner key "(.*?)", with value {_ANY}',
        _nested,
    ),
    (r"the flag was evaluated with details", _Provider.evaluate),
    (rf"the resolved details value should be {_ANY}", _value_is),
    (rf"the reason should be {_ANY}", _reason_is),
    (rf"the error-code should be {_ANY}", _error_is),
    (r"the resolved metadata is empty", _metadata_is_empty),
]


def run(case: Case, files: tuple[str, ...]) -> None:
    """Play a scenario over the flags of some files; a step that is not known is an error."""
    named = [version for version in VERSIONS if f"@fractional-{version}" in case.tags]
    provider = _Provider(files, named[0] if named else "v2")
    evaluated = False
    # some scenarios say what the flag is last
    for step in sorted(case.steps, key=lambda s: s.text.startswith("the ")):
        if step.text == "the resolved metadata should contain":
            _metadata_has(provider, step)
            continue
        for pattern, act in VOCABULARY:
            match = re.fullmatch(pattern, step.text, re.DOTALL)
            if match is not None:
                act(provider, *match.groups())
                break
        else:
            pytest.fail(f"no such step: {step.text}")
        evaluated |= act is _Provider.evaluate
    assert evaluated


@pytest.mark.parametrize("case", EVALUATOR, ids=lambda case: case.id)
def test_evaluator(case: Case) -> None:
    """A scenario of the evaluator's suite."""
    run(case, ("evaluator/flags/testkit-flags.json",))


@pytest.mark.parametrize("case", TARGETING, ids=lambda case: case.id)
def test_targeting(case: Case) -> None:
    """A scenario of targeting, by version of `fractional` where it has one."""
    run(case, ALL_FLAGS)


@pytest.mark.parametrize(
    "case",
    # superseded in the suite itself: what a server said that had no way to say "no value"
    [case for case in EVALUATION if "@deprecated" not in case.tags],
    ids=lambda case: case.id,
)
def test_evaluation(case: Case) -> None:
    """A scenario of values, zeros and defaults."""
    run(case, ALL_FLAGS)


@pytest.mark.parametrize("case", DISABLED, ids=lambda case: case.id)
def test_disabled(case: Case) -> None:
    """A scenario of disabled flags; the one with a selector asks the set that it names."""
    selected = next((s.text for s in case.steps if 'option "selector"' in s.text), "")
    run(case, ("flags/selector-flags.json",) if "rawflags/" in selected else ALL_FLAGS)


@pytest.mark.parametrize("case", METADATA, ids=lambda case: case.id)
def test_metadata(case: Case) -> None:
    """A scenario of metadata, of flags and of their set."""
    combined = any("selector-flag-combined-metadata" in step.text for step in case.steps)
    run(case, ("flags/selector-flag-combined-metadata.json",) if combined else ALL_FLAGS)


def test_no_case_is_lost() -> None:
    """A suite that is read badly must not look like one that passes."""
    assert len(EVALUATOR) == 140
    assert len(TARGETING) == 245
    by_version = [sum(f"@fractional-{v}" in case.tags for case in TARGETING) for v in VERSIONS]
    assert by_version == [15, 21, 132]
    assert len(EVALUATION) == 30
    assert sum("@deprecated" in case.tags for case in EVALUATION) == 7
    assert (len(DISABLED), len(METADATA)) == (7, 4)
    for part in (EVALUATOR, TARGETING, EVALUATION, DISABLED, METADATA):
        assert len({case.id for case in part}) == len(part)
