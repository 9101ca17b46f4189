"""Short ways to have a flag of flagd answer, for the tests of its translator."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from proxy.contract.problems import Problem
from proxy.engine.answers import Answer
from proxy.engine.dialects.flagd import DIALECT
from proxy.engine.dialects.model import Translation
from tests.conformance.harness import compile_translations

__all__ = ["ANY", "Flag", "definition", "flag", "translated"]

ANY = {"a": "A", "b": "B", "c": "C", "true": "yes", "false": "no"}


def definition(targeting: Any = None, **members: Any) -> dict[str, Any]:
    """Return a definition with variants a, b, c, true and false; c is the default."""
    made: dict[str, Any] = {"state": "ENABLED", "variants": ANY, "defaultVariant": "c"}
    if targeting is not None:
        made["targeting"] = targeting
    return {**made, **members}


def translated(
    targeting: Any = None, *, version: str = "v2", enabled: bool = True, **members: Any
) -> Translation:
    """Return the translation of the flag `checkout`."""
    made = definition(targeting, **members)
    return DIALECT.translate("checkout", made, {"fractional": version}, enabled)


class Flag:
    """The flag `checkout`, compiled."""

    def __init__(self, translation: Translation) -> None:
        self.translation = translation
        self._compiled = compile_translations({"checkout": translation})
        self.compiled: Any = self._compiled.flags["checkout"]

    def answer(self, context: Mapping[str, Any], now_ms: int = 0) -> Answer:
        """Return the answer for a context."""
        return self._compiled.evaluate("checkout", dict(context), now_ms)

    def said(self, context: Mapping[str, Any], now_ms: int = 0) -> str | None:
        """Return the variant, None for the application's default, or the code of an error."""
        answer = self.answer(context, now_ms)
        if answer.error_code is not None:
            return answer.error_code
        return None if answer.value is UNSET else answer.variant

    @property
    def problems(self) -> list[tuple[str, str, str]]:
        """Pointer, code and severity of each problem."""
        return [(p.pointer, p.code, p.severity) for p in self.all_problems]

    @property
    def all_problems(self) -> tuple[Problem, ...]:
        """The problems themselves."""
        return self.translation.problems


def flag(targeting: Any = None, **members: Any) -> Flag:
    """Return the flag `checkout` with this targeting."""
    return Flag(translated(targeting, **members))
