"""Features of GrowthBook for its translator's tests: made, compiled, and asked."""

from typing import Any

from msgspec import UNSET

from proxy.contract.codes import Severity
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.growthbook import DIALECT
from proxy.engine.dialects.model import Translation
from tests.conformance.harness import CompiledFlags, compile_translations

__all__ = ["ask", "compiled", "errors", "holds", "only_split", "translated", "value_of", "warnings"]

Json = dict[str, Any]


def translated(definition: Json, *, key: str = "flag", enabled: bool = True, **options: Any) -> Any:
    return DIALECT.translate(key, definition, options, enabled)


def compiled(features: dict[str, Json], **options: Any) -> CompiledFlags:
    return compile_translations(
        {key: translated(feature, key=key, **options) for key, feature in features.items()}
    )


def ask(definition: Json, context: Json, **options: Any) -> Answer:
    """Return what a feature answers."""
    return compiled({"flag": definition}, **options).evaluate("flag", context)


def value_of(answer: Answer) -> Any:
    return None if answer.value is UNSET else answer.value


def holds(condition: Json, context: Json, **options: Any) -> bool:
    """Return whether a condition holds for a context; said by a rule and by a bandit's leaf."""
    feature = {"defaultValue": "no", "rules": [{"condition": condition, "force": "yes"}]}
    found = ask(feature, context, **options).value == "yes"
    leaf = {"leafId": 1, "condition": condition, "weights": [1, 0]}
    rule = {"contextualVariations": ["yes", "no"], "weights": [0, 1], "contextualBanditRef": "cb"}
    bandit = {"rules": [rule | {"hashAttribute": "a unit"}]}
    options |= {"contextualBandits": {"cb": {"contexts": [leaf]}}}
    assert (ask(bandit, context | {"a unit": "u"}, **options).value == "yes") is found
    return found


def only_split(translation: Translation) -> p.Split:
    assert isinstance(translation.program, p.Program)
    steps = translation.program.steps
    [split] = [s.serve for s in steps if isinstance(s, p.Rule) and isinstance(s.serve, p.Split)]
    return split


def errors(translation: Translation) -> list[tuple[str, str]]:
    return _said(translation, Severity.ERROR)


def warnings(translation: Translation) -> list[tuple[str, str]]:
    return _said(translation, Severity.WARNING)


def _said(translation: Translation, severity: Severity) -> list[tuple[str, str]]:
    return [(x.pointer, str(x.code)) for x in translation.problems if x.severity is severity]
