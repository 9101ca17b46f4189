"""The members of GrowthBook's objects, read with what is wrong with them.

Each has the value that a member comes to, and where it is not what it should be a problem and the
value of one that is not there.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine.dialects.javascript import plain_number
from proxy.engine.findings import Findings, Path

__all__ = ["Members", "is_number", "is_plain", "is_text", "mapping", "objects"]


def mapping(value: Any) -> Mapping[str, Any]:
    return value if value.__class__ is dict else {}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if value.__class__ is list:
        yield from (item for item in value if item.__class__ is dict)


def is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float


def is_plain(value: Any) -> bool:
    """Return whether a value is a number that every reader of JSON has exactly, or a fraction."""
    return is_number(value) and -limits.MAX_INTEGER <= value <= limits.MAX_INTEGER


def is_text(value: str) -> bool:
    """Return whether a text has UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Members:
    """Reads members; `findings` grow."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def error(self, at: Path, code: ProblemCode, message: str, hint: str = "") -> None:
        self.findings.add(at, code, message, hint)

    def warning(self, at: Path, code: ProblemCode, message: str, hint: str = "") -> None:
        self.findings.add(at, code, message, hint, Severity.WARNING)

    def text(self, holder: Mapping[str, Any], member: str, at: Path) -> str:
        """Return a text, empty for one that is not there."""
        value = holder.get(member)
        if value is None:
            return ""
        if value.__class__ is str and is_text(value):
            return str(value)
        self.error((*at, member), ProblemCode.WRONG_TYPE, f"{member} is a text")
        return ""

    def number(self, holder: Mapping[str, Any], member: str, at: Path) -> float | None:
        value = holder.get(member)
        if value is None or is_number(value):
            return None if value is None else plain_number(value)
        self.error((*at, member), ProblemCode.WRONG_TYPE, f"{member} is a number")
        return None

    def count(self, holder: Mapping[str, Any], member: str, at: Path) -> int:
        value = self.number(holder, member, at) or 0
        return int(value) if is_plain(value) and value == int(value) else 0

    def version(self, holder: Mapping[str, Any], at: Path, otherwise: int) -> int | float:
        version = self.number(holder, "hashVersion", at) or otherwise
        if version not in (1, 2):
            message = "there is no such version of the hash"
            hint = "nobody is in it, as in GrowthBook's SDKs"
            self.warning((*at, "hashVersion"), ProblemCode.NOT_ONE_OF, message, hint)
        return version

    def weights(self, value: Any, at: Path) -> list[float] | None:
        if value is None:
            return None
        if value.__class__ is list and all(map(is_number, value)):
            return [plain_number(item) for item in value[: limits.MAX_VARIANTS + 1]]
        self.error(at, ProblemCode.WRONG_TYPE, "weights are numbers")
        return None

    def ranges(self, value: Any, at: Path) -> list[tuple[float, float]]:
        if value.__class__ is not list or len(value) > limits.MAX_VARIANTS:
            message = f"ranges are a list, of at most {limits.MAX_VARIANTS:,}"
            self.error(at, ProblemCode.WRONG_TYPE, message)
            return []
        found = []
        for index, pair in enumerate(value):
            if pair.__class__ is not list or len(pair) != 2 or not all(map(is_number, pair)):
                self.error((*at, index), ProblemCode.WRONG_TYPE, "a range is two numbers")
                continue
            found.append((plain_number(pair[0]), plain_number(pair[1])))
        return found

    def namespace(self, value: Any, at: Path) -> tuple[str, float, float] | None:
        if value is None:
            return None
        match value:
            case [str() as name, start, end, *_] if is_number(start) and is_number(end):
                return name, plain_number(start), plain_number(end)
        message = "a namespace is its name and two numbers"
        self.error((*at, "namespace"), ProblemCode.WRONG_TYPE, message)
        return None
