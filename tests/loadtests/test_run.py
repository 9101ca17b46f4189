"""`make load` succeeds on a run that asked everything and got it right, and on no other."""

from pathlib import Path

import pytest

from loadtests.run import EXPECTED, main, problems_of

_HEADER = "Type,Name,Request Count,Failure Count"


def _statistics(directory: Path, made: dict[str, tuple[int, int]]) -> Path:
    file = directory / "load_stats.csv"
    rows = [f"POST,{name},{count},{failed}" for name, (count, failed) in made.items()]
    file.write_text("\n".join([_HEADER, *rows, ",Aggregated,99,9", ""]))
    return file


def _all(**changed: tuple[int, int]) -> dict[str, tuple[int, int]]:
    return {**dict.fromkeys(EXPECTED, (10, 0)), **changed}


def test_a_run_of_right_answers_has_no_problem(tmp_path: Path) -> None:
    """Every kind was asked, none failed, locust ended well."""
    assert problems_of(_statistics(tmp_path, _all()), 0) == []


def test_a_kind_that_was_never_asked_is_a_problem(tmp_path: Path) -> None:
    """A run in which the writers did nothing would pass otherwise."""
    made = _all()
    del made["api: write a flag"]
    (problem,) = problems_of(_statistics(tmp_path, made), 0)
    assert "api: write a flag" in problem


def test_wrong_answers_are_a_problem(tmp_path: Path) -> None:
    """One wrong answer of many fails the run."""
    (problem,) = problems_of(_statistics(tmp_path, _all(**{"ofrep: one flag": (10_000, 1)})), 0)
    assert "ofrep: one flag" in problem


def test_a_locust_that_fails_is_a_problem(tmp_path: Path) -> None:
    """Also when the rows look well: an exception in a user is no row."""
    assert problems_of(_statistics(tmp_path, _all()), 1)


def test_a_locust_that_leaves_nothing_is_a_problem(tmp_path: Path) -> None:
    """It ended before it began."""
    assert problems_of(tmp_path / "load_stats.csv", 0)


@pytest.mark.parametrize("argument", ["--seconds=0", "--users=8", "--users=x"])
def test_a_run_that_would_test_nothing_is_refused(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the argument."""
    with pytest.raises(SystemExit):
        main([argument])
    assert argument.partition("=")[0] in capsys.readouterr().err


def test_a_short_run_succeeds(capfd: pytest.CaptureFixture[str]) -> None:
    """Real servers, real locust: every kind of request is made within seconds and is right."""
    assert main(["--seconds", "5", "--users", "9"]) == 0
    assert "every answer was right" in capfd.readouterr().out
