"""A small fleet goes through all that a large one does: changes reach all, a restart loses none."""

from pathlib import Path

import pytest

from loadtests.fleet import main, measure_changes, measure_restart, problems_of, running_fleet

SIDECARS = 50


async def test_a_fleet_gets_every_change_as_a_delta_and_survives_a_restart(tmp_path: Path) -> None:
    """Without an error, a fetch or a wrong evaluation; then with the errors of a kill only."""
    async with running_fleet(tmp_path, SIDECARS, flags=10, processes=2, evaluating=6) as fleet:
        changes = await measure_changes(fleet, 5)
        assert changes["deltas"] == {"applied": 5 * SIDECARS}
        assert (changes["errors"], changes["refused"], changes["wrong_evaluations"]) == ({}, {}, {})
        restart = await measure_restart(fleet)
    assert restart["refused"] == {}
    assert restart["wrong_evaluations"] == {}
    assert set(restart["errors"]) <= {"closed", "connect", "timeout"}
    assert restart["connections"] >= SIDECARS
    assert min(changes["evaluations"], restart["evaluations"]) > 0


def test_missed_targets_are_told() -> None:
    """And a wrong evaluation is always one."""
    changes = {"sidecar_ms": {"p99": 300.0}, "wrong_evaluations": {"FLAG_NOT_FOUND": 1}}
    restart = {"all_streaming_s": 1.0, "all_hold_the_change_s": 61.0, "wrong_evaluations": {}}
    found = problems_of({"changes": changes, "restart": restart})
    assert [problem.split(" ")[0] for problem in found] == ["p99", "back", "wrong"]
    changes |= {"sidecar_ms": {"p99": 1.0}, "wrong_evaluations": {}}
    assert problems_of({"changes": changes}) == []


@pytest.mark.parametrize("arguments", ["--sidecars 0", "--flags 0", "--processes 0"])
def test_what_cannot_be_measured_is_refused(arguments: str) -> None:
    """By name."""
    with pytest.raises(SystemExit):
        main(arguments.split())
