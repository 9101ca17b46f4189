"""What makes a count of evaluations acceptable, where it is added up, and what is told of it. Pure.

Counts are added up by minute for an hour, by hour for 14 days and by day for 400 (`SPANS`). What is
older when it comes is left out of the finer ones. Times are clamped as those of all reports are.
"""

from collections.abc import Container, Iterable
from typing import NamedTuple

import msgspec

from control_plane.reports.model import clamped, out_of_bounds
from proxy.contract.problems import Problem, pointer
from proxy.contract.reports import MAX_LABEL_CHARS
from proxy.contract.usage import MAX_COUNT, UsageBatch, UsageCount

__all__ = [
    "OTHER",
    "SPANS",
    "AddedUp",
    "FlagUsage",
    "Span",
    "UsageRow",
    "Where",
    "add_up",
    "check_count",
    "field_of",
    "rows_of",
]

_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000

OTHER = ""
"""Stands for all flags that there are not, and for variants beyond what is told apart."""


class Span(NamedTuple):
    """How counts are added up: the step between them, for how long, and in parts of which length.

    Each part is a key of its own, which expires. Milliseconds.
    """

    name: str
    step_ms: int
    kept_ms: int
    part_ms: int


SPANS = (
    Span("minutes", _MINUTE_MS, _HOUR_MS, _HOUR_MS),
    Span("hours", _HOUR_MS, 14 * _DAY_MS, 7 * _DAY_MS),
    Span("days", _DAY_MS, 400 * _DAY_MS, 100 * _DAY_MS),
)


class Where(NamedTuple):
    """A part of a span of a flag: `part` counts its length since 1970."""

    span: Span
    flag: str
    part: int

    @property
    def expires_at_s(self) -> int:
        """Unix time at which nothing in it is within the span any more."""
        return ((self.part + 1) * self.span.part_ms + self.span.kept_ms) // 1000


class AddedUp(NamedTuple):
    """What a batch adds up to.

    `counts` are of each part by field, `last` when each flag was evaluated last, Unix ms. Of the
    items so many had a time that was clamped, or a flag that there is not.
    """

    counts: dict[Where, dict[str, int]]
    last: dict[str, int]
    clamped: int
    unknown: int


class UsageRow(msgspec.Struct, frozen=True):
    """Evaluations in the minute, the hour or the day, UTC, that begins at `at`, RFC 3339.

    `without_variant` were errors, or left the code default in place. `other` are of variants beyond
    the number that is told apart.
    """

    at: str
    variants: dict[str, int]
    without_variant: int = 0
    other: int = 0


class FlagUsage(msgspec.Struct, frozen=True):
    """When a flag was last evaluated in one environment; the counts where one flag was asked for.

    `last_evaluated_at` is RFC 3339, to the minute; null when it never was, as far as is known.
    `minutes` are of the last hour, `hours` of 14 days, `days` of 400; those without any are left
    out.
    """

    flag: str
    last_evaluated_at: str | None
    minutes: list[UsageRow] | None = None
    hours: list[UsageRow] | None = None
    days: list[UsageRow] | None = None


def check_count(index: int, item: UsageCount) -> list[Problem]:
    """Return what is wrong with the item at a place of a batch."""
    problems = out_of_bounds(pointer("items", index, "count"), item.count, 1, MAX_COUNT)
    for member, text in (("flag", item.flag), ("variant", item.variant), ("reason", item.reason)):
        if text is not None and not 0 < len(text) <= MAX_LABEL_CHARS:
            where = pointer("items", index, member)
            problems += out_of_bounds(where, len(text), 1, MAX_LABEL_CHARS)
    return problems


def field_of(step: int, variant: str | None) -> str:
    """Return the field of a step within its part: with a variant, or without one."""
    return str(step) if variant is None else f"{step}:{variant}"


def add_up(batch: UsageBatch, received_ms: int, known: Container[str]) -> AddedUp:
    """Return what a batch that arrived at a time, Unix ms, adds up to; `known` are the flags."""
    sums: dict[tuple[str, str | None, int], int] = {}
    last: dict[str, int] = {}
    moved = unknown = 0
    for item in batch.items:
        at_ms = clamped(item.minute_ms, received_ms) // _MINUTE_MS * _MINUTE_MS
        moved += clamped(item.minute_ms, received_ms) != item.minute_ms
        flag = item.flag
        if flag not in known:
            unknown += 1
            key: tuple[str, str | None, int] = (OTHER, None, at_ms)
        else:
            last[flag] = max(last.get(flag, 0), at_ms)
            key = (flag, item.variant, at_ms)
        sums[key] = sums.get(key, 0) + item.count
    counts: dict[Where, dict[str, int]] = {}
    for (flag, variant, at_ms), count in sums.items():
        for span in SPANS:
            if at_ms < received_ms - span.kept_ms:
                continue
            part, within_ms = divmod(at_ms, span.part_ms)
            fields = counts.setdefault(Where(span, flag, part), {})
            field = field_of(within_ms // span.step_ms, variant)
            fields[field] = fields.get(field, 0) + count
    return AddedUp(counts, last, moved, unknown)


def rows_of(
    span: Span, parts: Iterable[tuple[int, dict[str, int]]], now_ms: int
) -> list[tuple[int, dict[str | None, int]]]:
    """Return the counts of parts, by field, as pairs of a time (Unix ms) and counts by variant."""
    rows: dict[int, dict[str | None, int]] = {}
    for part, fields in parts:
        for field, count in fields.items():
            step, colon, variant = field.partition(":")
            at_ms = part * span.part_ms + int(step) * span.step_ms
            if at_ms > now_ms - span.kept_ms:
                rows.setdefault(at_ms, {})[variant if colon else None] = count
    return sorted(rows.items())
