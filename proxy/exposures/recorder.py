"""Turns evaluations and clients' reports into exposures in the buffer. Pure but for the buffer.

A single evaluation of a tracked flag is an exposure of the unit it was decided for; without such a
unit there is nobody to attribute it to, and it is counted as one of nobody. What clients report is
held against the snapshot, so that a page cannot fill an experiment with flags that are not there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proxy.contract.decode import decode
from proxy.contract.definitions import TARGETING_KEY
from proxy.contract.exposures import ReportAnswer, UsedVariant
from proxy.contract.problems import Problem
from proxy.contract.reports import MAX_LABEL_CHARS, Rejected
from proxy.contract.snapshot import SnapshotHeader
from proxy.contract.units import MAX_UNIT_CHARS
from proxy.engine import Answer, CompiledFlag
from proxy.engine.bucketing import unit_bytes
from proxy.engine.paths import split_path, walk
from proxy.exposures.buffer import ExposureBuffer, Seen
from proxy.reporting.items import read_items, rejected, wrong_length
from proxy.reporting.room import Room

__all__ = ["Recorder", "read_report"]


class _Report(msgspec.Struct, forbid_unknown_fields=True):
    """`ExposureReport`, its exposures as they are written: each is read by itself."""

    exposures: list[msgspec.Raw]


class Recorder:
    """Records into `buffer`; None while there is nobody to report to, and then all is ignored."""

    __slots__ = ("buffer", "rejected", "without_unit")

    def __init__(self, buffer: ExposureBuffer | None) -> None:
        self.buffer = buffer
        # of the process
        self.rejected = 0
        self.without_unit = 0

    def evaluated(
        self, answer: Answer, context: dict[str, Any], header: SnapshotHeader, now_ms: int
    ) -> None:
        """Record the single evaluation of a tracked flag."""
        if self.buffer is None:
            return
        unit = _unit(context, answer.unit_attribute)
        if unit is None:
            self.without_unit += 1
            return
        seen = Seen(
            answer.key,
            answer.variant,
            unit,
            answer.unit_attribute,
            answer.rule_id,
            answer.reason or "",
            header.epoch,
            header.revision,
        )
        self.buffer.add(seen, now_ms)

    def reported(
        self,
        report: Sequence[UsedVariant | str],
        flags: Mapping[str, CompiledFlag],
        header: SnapshotHeader,
        now_ms: int,
    ) -> ReportAnswer | Room:
        """Record what was read of a report, all that is sound or nothing.

        `flags` are what the client may see.
        """
        ignored = 0
        refused: list[Rejected] = []
        accepted: list[Seen] = []
        for place, used in enumerate(report):
            if isinstance(used, str):
                refused.append(rejected(place, used))
                continue
            flag = flags.get(used.flag)
            if wrong := _wrong_with(used, flag):
                refused.append(rejected(place, wrong))
            elif flag is None or not flag.track or self.buffer is None:
                ignored += 1
            else:
                accepted.append(_seen(used, header))
        if self.buffer is not None:
            if not self.buffer.room_for(accepted):
                ever = self.buffer.room_for(accepted, ever=True)
                return Room.NONE_NOW if ever else Room.NONE_EVER
            for seen in accepted:
                self.buffer.add(seen, now_ms)
        self.rejected += len(refused)
        return ReportAnswer(len(accepted), ignored, refused)


def read_report(body: bytes) -> tuple[list[UsedVariant | str] | None, list[Problem]]:
    """Return the exposures of a client's report, or why there is none, at the place of each.

    None and problems for a body that is no report.
    """
    report, problems = decode(body, _Report)
    if report is None:
        return None, problems
    return read_items("exposures", report.exposures, UsedVariant)


def _wrong_with(used: UsedVariant, flag: CompiledFlag | None) -> str | None:
    """Return why an exposure cannot be one, or would make its record large; None for nothing.

    What a client was shown a moment ago it may not be shown any more: all variants are taken.
    """
    if flag is None:
        return "flag: there is none of this key"
    if not _has(flag, used.variant):
        return "variant: the flag has none of this name"
    return (
        wrong_length("unit", used.unit, MAX_UNIT_CHARS)
        or _too_long("unit_attribute", used.unit_attribute)
        or _too_long("reason", used.reason)
        or _too_long("rule_id", used.rule_id or "")
    )


def _has(flag: CompiledFlag, variant: str) -> bool:
    if not variant:
        return False
    return variant in flag.unserved or any(answer.variant == variant for answer in flag.answers)


def _too_long(what: str, text: str) -> str | None:
    return wrong_length(what, text, MAX_LABEL_CHARS) if text else None


def _seen(used: UsedVariant, header: SnapshotHeader) -> Seen:
    return Seen(
        used.flag,
        used.variant,
        used.unit,
        used.unit_attribute,
        used.rule_id,
        used.reason,
        header.epoch,
        header.revision,
    )


def _unit(context: dict[str, Any], attribute: str) -> str | None:
    """Return the unit as it was bucketed, or None."""
    value = context.get(attribute)
    if value is None and (steps := split_path(attribute)) is not None:
        value = walk(context, steps)
    if attribute == TARGETING_KEY and not isinstance(value, str):
        return None
    unit = unit_bytes(value)
    return None if unit is None else unit.decode()
