"""Suites are played as pytest plays them: every case, and what they ask is seen.

Where their data is missing, loading a suite skips, or in CI fails, as `tests.conformance` has it.
"""

from collections.abc import Callable, Iterable

import pytest

from proxy.engine.dialects.model import Dialect
from tests.bench import dialects
from tests.bench.figures import Figure
from tests.bench.scale import QUICK
from tests.bench.suites import SYSTEMS, play
from tests.conformance.harness import CompiledFlags

CASES = {"flagd": 419, "unleash": 279, "growthbook": 487, "launchdarkly": 758, "goff": 109}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_suite_is_played(system: str) -> None:
    """All of its cases but those over HTTP, and nothing stays patched."""
    plain = CompiledFlags.evaluate
    played = play(system)
    assert CompiledFlags.evaluate is plain
    assert played.cases == CASES[system]
    assert len(played.evaluations) >= 100
    assert len(played.definitions) >= 100


def test_regexes_are_seen() -> None:
    """The target of an evaluation with one is another."""
    played = play("unleash")
    assert sum(dialects._regexes(evaluation) for evaluation in played.evaluations) == 28


def test_a_translator_that_raises_is_told() -> None:
    """With the seed, by which it can be made again."""
    played = play("goff")

    def translate(*_: object) -> None:
        raise ValueError("no")

    broken: Dialect = played.dialect._replace(translate=translate)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="seed 1 of goff"):
        list(dialects._fuzz(played._replace(dialect=broken), 10))


@pytest.mark.parametrize("ci", ["", "true"])
def test_without_data_it_is_as_with_the_suites_themselves(
    ci: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is played: it skips, and in CI it fails."""
    monkeypatch.delenv("MATRIXFLAG_SUITES", raising=False)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(FileNotFoundError if ci else pytest.skip.Exception, match="suites-help"):
        play("goff")


@pytest.mark.parametrize("measure", [dialects.measure_dialects, dialects.measure_fuzz])
def test_without_suites_it_says_so(
    measure: Callable[..., Iterable[Figure]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, and no figure."""
    monkeypatch.delenv("MATRIXFLAG_SUITES", raising=False)
    assert list(measure(QUICK, None)) == []  # no folder is used
    assert "skipped: MATRIXFLAG_SUITES names no folder" in capsys.readouterr().out
