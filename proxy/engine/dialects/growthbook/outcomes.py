"""What a feature can answer: its values as variants, each with a name of its own.

GrowthBook's values have no names. A variant is called after the rule or after the experiment and
its variation, so that it keeps its name when rules are added before it and values change.
"""

from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode, Reason
from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.growthbook.members import Members, is_text
from proxy.engine.findings import Path

__all__ = ["Metadata", "Outcomes", "nothing", "unit_attribute", "variation_key"]

Metadata = tuple[tuple[str, str | int | float | bool], ...]


def nothing(source: str) -> p.Outcome:
    """Return the outcome without a value."""
    return p.Outcome(None, Reason.DEFAULT, metadata=(("sourceReason", source),))


def unit_attribute(by: str) -> str:
    """Return the attribute that exposures take for the unit."""
    return TARGETING_KEY if by == "id" else by


def variation_key(meta: dict[str, Any], place: int) -> str:
    """Return what a variation is called: by its key, or by its place."""
    key = meta.get("key")
    return key if key.__class__ is str and key and is_text(key) else str(place)


class Outcomes:
    """The outcomes of one feature; `variants` grow with each."""

    def __init__(self, members: Members) -> None:
        self.variants: dict[str, Any] = {}
        self._members = members
        self._names = {"default"}

    def outcome(
        self,
        at: Path,
        name: str,
        value: Any,
        reason: Reason,
        metadata: Metadata,
        rule_id: str | None = None,
        by: str = TARGETING_KEY,
    ) -> p.Outcome:
        """Return what serves a value as a variant of a name; null is the application's default."""
        variant: str | None = name
        if value is None:
            variant = None
        elif name not in self.variants:
            if len(self.variants) >= limits.MAX_VARIANTS:
                message = f"a flag has at most {limits.MAX_VARIANTS:,} values"
                self._members.error(at, ProblemCode.TOO_MANY, message)
            self._check_value(at, value)
            self.variants[name] = value
        return p.Outcome(variant, reason, rule_id, by, metadata=metadata)

    def _check_value(self, at: Path, value: Any) -> None:
        layer = [value]
        for _ in range(limits.MAX_VALUE_DEPTH + 1):
            below: list[Any] = []
            for item in layer:
                if item.__class__ is dict:
                    below += item.values()
                elif item.__class__ is list:
                    below += item
            if not below:
                break
            layer = below
        else:
            message = f"a value nests at most {limits.MAX_VALUE_DEPTH} deep"
            self._members.error(at, ProblemCode.TOO_DEEP, message)
            return
        try:
            size = len(msgspec.json.encode(value))
        except (UnicodeEncodeError, ValueError, OverflowError):
            self._members.error(at, ProblemCode.WRONG_TYPE, "the value cannot be written as JSON")
            return
        if size > limits.MAX_VALUE_BYTES:
            message = f"a value has at most {limits.MAX_VALUE_BYTES:,} bytes"
            self._members.error(at, ProblemCode.VALUE_TOO_LARGE, message)

    def name(self, wanted: str, otherwise: str) -> str:
        """Return a name for a variant that no other one has, `wanted` if it can be."""
        if not wanted or len(wanted) > limits.MAX_NAME_CHARS or not is_text(wanted):
            wanted = otherwise
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted[: limits.MAX_NAME_CHARS - 10]}-{count}"
        self._names.add(name)
        return name
