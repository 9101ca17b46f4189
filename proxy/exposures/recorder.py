"""Turns evaluations and clients' reports into exposures in the buffer. Pure but for the buffer.

A single evaluation of a tracked flag is an exposure of the unit it was decided for; without such a
unit there is nobody to attribute it to, and it is counted as one of nobody. What clients report is
held against the snapshot, so that a page cannot fill an experiment with flags that are not there.
"""

from collections.abc import Mapping
from typing import Any

from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.definitions import TARGETING_KEY
from proxy.contract.exposures import ExposureReport, ReportAnswer, UsedVariant
from proxy.contract.problems import Problem
from proxy.contract.reports import MAX_BATCH_ITEMS, MAX_LABEL_CHARS
from proxy.contract.snapshot import SnapshotHeader
from proxy.contract.units import MAX_UNIT_CHARS
from proxy.engine import Answer, CompiledFlag
from proxy.engine.bucketing import unit_bytes
from proxy.engine.paths import split_path, walk
from proxy.exposures.buffer import ExposureBuffer, Seen
from proxy.reporting.room import Room

__all__ = ["Recorder", "read_report"]


class Recorder:
    """Records into `buffer`; None while there is nobody to report to, and then all is ignored."""

    __slots__ = ("buffer", "without_unit")

    def __init__(self, buffer: ExposureBuffer | None) -> None:
        self.buffer = buffer
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
        report: ExposureReport,
        flags: Mapping[str, CompiledFlag],
        header: SnapshotHeader,
        now_ms: int,
    ) -> ReportAnswer | Room:
        """Record what a client used, all that is sound or nothing; `flags` are what it may see."""
        ignored = 0
        rejected: list[int] = []
        accepted: list[Seen] = []
        for place, used in enumerate(report.exposures):
            flag = flags.get(used.flag)
            if flag is None or not _serves(flag.answers, used.variant) or not _is_sound(used):
                rejected.append(place)
            elif not flag.track or self.buffer is None:
                ignored += 1
            else:
                accepted.append(_seen(used, header))
        if self.buffer is not None:
            if not self.buffer.room_for(accepted):
                ever = self.buffer.room_for(accepted, ever=True)
                return Room.NONE_NOW if ever else Room.NONE_EVER
            for seen in accepted:
                self.buffer.add(seen, now_ms)
        return ReportAnswer(len(accepted), ignored, rejected)


def read_report(body: bytes) -> tuple[ExposureReport | None, list[Problem]]:
    """Return a client's report, or None and what is wrong with it."""
    report, problems = decode(body, ExposureReport)
    if report is not None and len(report.exposures) > MAX_BATCH_ITEMS:
        message = f"{len(report.exposures)} items, at most {MAX_BATCH_ITEMS} are taken"
        return None, [Problem("/exposures", ProblemCode.TOO_MANY, message, "send several reports")]
    return report, problems


def _serves(answers: tuple[Answer, ...], variant: str) -> bool:
    return bool(variant) and any(answer.variant == variant for answer in answers)


def _is_sound(used: UsedVariant) -> bool:
    """Return whether there is a unit, and nothing that makes a record, kept until sent, large."""
    labels = (used.unit_attribute, used.reason, used.rule_id or "")
    return 0 < len(used.unit) <= MAX_UNIT_CHARS and max(map(len, labels)) <= MAX_LABEL_CHARS


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
