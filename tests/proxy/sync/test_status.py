"""The status counts and dates what the source reports."""

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem
from proxy.sync.status import MAX_PROBLEMS, SyncStatus


class WallClock:
    """Unix seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_state_is_dated_when_it_changes() -> None:
    """Entering it again is no change."""
    clock = WallClock()
    status = SyncStatus(clock)
    assert (status.state, status.state_since) == ("starting", 100.0)
    clock.now = 200.0
    assert status.enter("polling") is True
    clock.now = 300.0
    assert status.enter("polling") is False
    assert status.state_since == 200.0


def test_failures_are_counted_by_kind_and_the_latest_is_kept() -> None:
    """With its time."""
    clock = WallClock()
    status = SyncStatus(clock)
    status.fail("connect", "refused")
    status.fail("connect", "refused")
    clock.now = 150.0
    status.fail("idle", "silent")
    assert status.errors == {"connect": 2, "idle": 1}
    assert (status.last_error, status.last_error_at) == ("idle: silent", 150.0)


def test_what_an_upstream_sent_is_kept_short() -> None:
    """It goes to logs and pages."""
    status = SyncStatus()
    status.fail("protocol", "x" * 100_000)
    assert len(status.last_error or "") == 500


def test_problems_are_bounded() -> None:
    """The first hundred of a file, and those of the last look only."""
    status = SyncStatus()
    problem = Problem("/flags/0", ProblemCode.WRONG_TYPE, "bad")
    status.report([problem] * 1000)
    assert len(status.problems) == MAX_PROBLEMS
    status.report([])
    assert status.problems == ()
