"""What one translation of Unleash's JSON shares: its problems, its operands, and how much it read.

Three things can be wrong with a definition:
- What Unleash lets pass and never matches, such as a number that is none: a warning.
- What Unleash would refuse to load, because it is of a wrong type: an error.
- What exceeds a bound of ours: an error. It could not be answered as Unleash does.
"""

from collections.abc import Mapping
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine.dialects.unleash.context import Operands, field_text
from proxy.engine.findings import Findings, Path

__all__ = ["Translating", "segment_key"]

_SHOWN_CHARS = 40


def segment_key(number: Any) -> str | None:
    """Return the key that a segment has here, by its number there; None for what is no number."""
    if number.__class__ is not int or abs(number) > limits.MAX_INTEGER:
        return None
    return f"unleash-{number}"


class Translating:
    """One toggle or segment while it is translated."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.operands = Operands(options)
        self.findings = Findings()
        self.failed = False
        self._counts = {
            "conditions": 0,
            "values": 0,
            "regular expressions": 0,
            "networks": 0,
            "variants": 0,
        }

    def error(self, path: Path, code: ProblemCode, message: str, hint: str = "") -> None:
        """Add an error: the definition is not served."""
        self.failed = True
        self.findings.add(path, code, message, hint)

    def warn(self, path: Path, code: ProblemCode, message: str, hint: str = "") -> None:
        """Add a warning: the definition is served, and this is to know."""
        self.findings.add(path, code, message, hint, Severity.WARNING)

    def count(self, path: Path, what: str, number: int = 1) -> bool:
        """Count things that are bounded, and return whether there may be so many."""
        before = self._counts[what]
        self._counts[what] = before + number
        most = _MOST[what]
        if before <= most < before + number:
            message = f"more than {most} {what} in all"
            self.error(path, ProblemCode.TOO_MANY, message, "put some into segments")
        return before + number <= most

    def items(self, node: Mapping[str, Any], path: Path, name: str) -> list[Any]:
        """Return a list that may be left out or null."""
        value = node.get(name)
        if value is None:
            return []
        if value.__class__ is list:
            return value
        self.error((*path, name), ProblemCode.WRONG_TYPE, f"{name} is a list")
        return []

    def mapping(self, value: Any, path: Path, what: str) -> dict[str, Any] | None:
        """Return an object, None and an error for what is none."""
        if value.__class__ is dict:
            return value
        self.error(path, ProblemCode.WRONG_TYPE, f"{what} is an object")
        return None

    def text(self, node: Mapping[str, Any], path: Path, name: str) -> str | None:
        """Return a text that may be left out or null; numbers and booleans are written as text."""
        value = node.get(name)
        found = field_text(value)
        if found is None and value is not None:
            self.error((*path, name), ProblemCode.WRONG_TYPE, f"{name} is a string")
        return found

    def texts(self, node: Mapping[str, Any], path: Path, name: str = "values") -> list[str]:
        """Return a list of texts that may be left out or null."""
        values = self.items(node, path, name)
        if not self.count((*path, name), "values", len(values)):
            return []
        texts = []
        for index, value in enumerate(values):
            found = field_text(value)
            if found is None:
                where = (*path, name, index)
                self.error(where, ProblemCode.WRONG_TYPE, f"{name} is a list of strings")
            else:
                texts.append(found)
        return texts

    def shown(self, text: str) -> str:
        """Return a text of the definition, quoted and cut, for a message."""
        return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")


_MOST = {
    "conditions": limits.MAX_CONDITIONS,
    "values": limits.MAX_VALUES_IN_ALL,
    "regular expressions": limits.MAX_PATTERNS,
    "networks": limits.MAX_NETWORKS,
    "variants": limits.MAX_VARIANTS,
}
