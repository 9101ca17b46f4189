"""From evaluations to exposures; over HTTP in tests/proxy/ofrep/test_routes.py."""

from typing import Any

import msgspec
import pytest

from proxy.contract.decode import decode
from proxy.contract.definitions import FlagDefinition
from proxy.contract.exposures import ReportAnswer, UsedVariant
from proxy.contract.reports import MAX_BATCH_ITEMS, MAX_LABEL_CHARS
from proxy.contract.snapshot import SnapshotHeader
from proxy.contract.units import MAX_UNIT_CHARS
from proxy.engine import CompiledFlag, compile_flag
from proxy.exposures.buffer import ExposureBuffer
from proxy.exposures.recorder import Recorder, read_report
from proxy.reporting.room import Room
from tests.support.snapshots import make_snapshot

HEADER: SnapshotHeader = make_snapshot({}, revision=9)[0]


def recorded(context: dict[str, Any], by: str = "targetingKey") -> tuple[Recorder, list[Any]]:
    """Return what is recorded when a flag split by an attribute is evaluated."""
    arms = [{"variant": "on", "weight": 100_000}]
    document = {
        "type": "boolean",
        "variants": {"on": True},
        "fallthrough": {"rollout": {"by": by, "arms": arms}},
        "salt": "s",
        "enabled": True,
        "track": True,
    }
    definition, problems = decode(msgspec.json.encode(document), FlagDefinition)
    assert definition is not None, problems
    answer = compile_flag("f", definition, {}).evaluate(context, 0)
    recorder = Recorder(ExposureBuffer(10))
    recorder.evaluated(answer, context, HEADER, 5)
    assert recorder.buffer is not None
    return recorder, recorder.buffer.take(10)


@pytest.mark.parametrize(
    ("by", "context", "unit"),
    [
        ("targetingKey", {"targetingKey": "u-1"}, "u-1"),
        ("account", {"account": 42, "targetingKey": "u-1"}, "42"),
        ("account", {"account": 42.0}, "42"),
        ("user.id", {"user": {"id": "x"}}, "x"),
        ("user.id", {"user.id": "y", "user": {"id": "x"}}, "y"),
        ("ids[1]", {"ids": ["a", "b"]}, "b"),
    ],
)
def test_the_unit_is_what_was_bucketed(by: str, context: dict[str, Any], unit: str) -> None:
    """As text, with the attribute that held it."""
    _, (exposure,) = recorded(context, by)
    assert (exposure.unit, exposure.unit_attribute) == (unit, by)
    assert (exposure.epoch, exposure.revision, exposure.first_seen_ms) == ("e1", 9, 5)


@pytest.mark.parametrize("key", [None, "", 7, True, [], "\ud83d"])
def test_without_a_unit_it_is_an_exposure_of_nobody(key: Any) -> None:
    """Counted apart, because it belongs into no experiment."""
    recorder, exposures = recorded({"targetingKey": key})
    assert exposures == []
    assert recorder.without_unit == 1


def tracked() -> CompiledFlag:
    """Return a tracked flag `f` that serves `on`."""
    definition, _ = decode(
        b'{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"on"},"salt":"s",'
        b'"enabled":true,"track":true}',
        FlagDefinition,
    )
    assert definition is not None
    return compile_flag("f", definition, {})


def test_with_nobody_to_report_to_nothing_is_kept() -> None:
    """A sidecar that serves a file collects nothing."""
    recorder = Recorder(None)
    flag = tracked()
    recorder.evaluated(flag.evaluate({}, 0), {}, HEADER, 5)
    report, _ = read_report(b'{"exposures":[{"flag":"f","variant":"on","unit":"u"}]}')
    assert report is not None
    answer = recorder.reported(report, {"f": flag}, HEADER, 5)
    assert isinstance(answer, ReportAnswer)
    assert (recorder.without_unit, answer.accepted, answer.ignored) == (0, 0, 1)


def test_a_report_is_bounded() -> None:
    """One request must not hold the loop for long."""
    item = b'{"flag":"f","variant":"on","unit":"u"}'
    for count, problems in ((MAX_BATCH_ITEMS, 0), (MAX_BATCH_ITEMS + 1, 1)):
        body = b'{"exposures":[' + b",".join([item] * count) + b"]}"
        assert len(read_report(body)[1]) == problems


@pytest.mark.parametrize("member", ["unit_attribute", "reason", "rule_id"])
def test_a_report_cannot_make_records_large(member: str) -> None:
    """Up to 50,000 of them wait in memory, whoever holds a client key fills them in."""
    recorder = Recorder(ExposureBuffer(10))
    used = [
        UsedVariant("f", "on", f"u-{extra}", **{member: "x" * (MAX_LABEL_CHARS + extra)})
        for extra in (0, 1)
    ]
    answer = recorder.reported(used, {"f": tracked()}, HEADER, 5)
    assert isinstance(answer, ReportAnswer)
    assert (answer.accepted, [each.place for each in answer.rejected]) == (1, [1])


@pytest.mark.parametrize(
    ("enabled", "rest"),
    [
        (False, {"fallthrough": {"variant": "on"}}),
        (True, {"fallthrough": {"variant": "on"}}),
        (True, {"fallthrough": {"rollout": {"arms": [{"variant": "on", "weight": 100_000}]}}}),
    ],
)
def test_what_was_shown_a_moment_ago_is_taken(enabled: bool, rest: dict[str, Any]) -> None:
    """The flag was switched off since, or its rollout ended; the unit saw what it saw."""
    document = {
        "type": "string",
        "variants": {"on": "a", "off": "b", "ended": "c"},
        "off_variant": "off",
        "salt": "s",
        "enabled": enabled,
        "track": True,
    }
    definition, problems = decode(msgspec.json.encode(document | rest), FlagDefinition)
    assert definition is not None, problems
    flag = compile_flag("f", definition, {})
    assert not flag.problems
    served = {answer.variant for answer in flag.answers if answer.variant}
    assert sorted([*flag.unserved, *served]) == ["ended", "off", "on"]
    recorder = Recorder(ExposureBuffer(10))
    used = [UsedVariant("f", variant, "u") for variant in ("on", "off", "ended", "never", "")]
    answer = recorder.reported(used, {"f": flag}, HEADER, 5)
    assert isinstance(answer, ReportAnswer)
    assert (answer.accepted, [each.place for each in answer.rejected]) == (3, [3, 4])
    assert recorder.rejected == 2


def test_a_report_of_a_unit_that_is_too_long_is_not_said_to_be_accepted() -> None:
    """It would be lost."""
    recorder = Recorder(ExposureBuffer(10))
    used = [UsedVariant("f", "on", "u" * (MAX_UNIT_CHARS + extra)) for extra in (0, 1)]
    answer = recorder.reported(used, {"f": tracked()}, HEADER, 5)
    assert isinstance(answer, ReportAnswer)
    assert (answer.accepted, [each.place for each in answer.rejected]) == (1, [1])


def test_without_room_nothing_of_a_report_is_taken() -> None:
    """Nor lost: who sends it still has it."""
    recorder = Recorder(ExposureBuffer(10))
    assert recorder.buffer is not None

    def report(first: int, count: int) -> ReportAnswer | Room:
        used = [UsedVariant("f", "on", f"u-{first + n}") for n in range(count)]
        return recorder.reported(used, {"f": tracked()}, HEADER, 5)

    assert report(0, 11) is Room.NONE_EVER
    assert report(0, 6) == ReportAnswer(6, 0, [])
    assert report(6, 6) is Room.NONE_NOW
    assert (recorder.buffer.received, recorder.buffer.lost) == (6, 0)
    recorder.buffer.take()
    assert report(6, 6) == ReportAnswer(6, 0, [])
