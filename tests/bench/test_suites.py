"""Suites are played as pytest plays them: every case, and what they ask is seen."""

from collections.abc import Callable, Iterable

import pytest

from proxy.engine.dialects.model import Dialect
from tests.bench import dialects
from tests.bench.figures import Figure
from tests.bench.scale import QUICK
from tests.bench.suites import SYSTEMS, play, why_not
from tests.conformance.harness import CompiledFlags

needs_suites = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

CASES = {"flagd": 419, "unleash": 279, "growthbook": 487, "launchdarkly": 758, "goff": 109}


@needs_suites
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_suite_is_played(system: str) -> None:
    """All of its cases but those over HTTP, and nothing stays patched."""
    plain = CompiledFlags.evaluate
    played = play(system)
    assert CompiledFlags.evaluate is plain
    assert played.cases == CASES[system]
    assert len(played.evaluations) >= 100
    assert len(played.definitions) >= 100


@needs_suites
def test_regexes_are_seen() -> None:
    """The target of an evaluation with one is another."""
    played = play("unleash")
    assert sum(dialects._regexes(evaluation) for evaluation in played.evaluations) == 28


@needs_suites
def test_a_translator_that_raises_is_told() -> None:
    """With the seed, by which it can be made again."""
    played = play("goff")

    def translate(*_: object) -> None:
        raise ValueError("no")

    broken: Dialect = played.dialect._replace(translate=translate)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="seed 1 of goff"):
        list(dialects._fuzz(played._replace(dialect=broken), 10))


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
