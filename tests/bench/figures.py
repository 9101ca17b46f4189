"""A measured figure beside its target, and the table of them. Knows not how it was measured."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Figure", "at_least", "below", "informative", "render"]


@dataclass(frozen=True)
class Figure:
    """One figure; `reached` is None where there is no target to reach."""

    what: str
    measured: str
    target: str = ""
    reached: bool | None = None


def below(what: str, value: float, target: float, unit: str) -> Figure:
    """Return a figure whose target is an upper bound."""
    return Figure(what, _quantity(value, unit), f"< {_quantity(target, unit)}", value < target)


def at_least(what: str, value: float, target: float, unit: str) -> Figure:
    """Return a figure whose target is a lower bound."""
    return Figure(what, _quantity(value, unit), f">= {_quantity(target, unit)}", value >= target)


def informative(what: str, value: float, unit: str) -> Figure:
    """Return a figure that others are understood by, without a target of its own."""
    return Figure(what, _quantity(value, unit))


def render(figures: Iterable[Figure]) -> str:
    """Return the table, in Markdown, so that it can be pasted."""
    rows = [("figure", "measured", "target", "")]
    marks = {True: "reached", False: "MISSED", None: ""}
    rows += [(f.what, f.measured, f.target, marks[f.reached]) for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def _quantity(value: float, unit: str) -> str:
    """Return a value with three significant digits, or all of those before the point."""
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}".rstrip()
