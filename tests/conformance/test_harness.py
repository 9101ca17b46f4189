"""The harness itself: data that is missing, and flags that ask one another."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from proxy.contract.codes import ErrorCode, ProblemCode, Reason
from proxy.contract.problems import Problem
from proxy.engine import program as p
from proxy.engine.dialects.model import Named, Translation
from proxy.engine.operators import OPERATORS
from tests.conformance.harness import compile_translations, suite, vectors

ON = p.Outcome("on", Reason.TARGETING_MATCH)
OFF = p.Outcome("off", Reason.DEFAULT)
VARIANTS = {"on": True, "off": False}
IS_PRO = p.Probe("plan", OPERATORS["equals"].compile(["pro"]))
PRO, FREE = {"plan": "pro"}, {"plan": "free"}


NOBODY = Named()


def flag(*steps: p.Step, named: Named = NOBODY, **more: Any) -> Translation:
    return Translation(p.Program(steps, ON), VARIANTS, named, **more)


def asking(key: str, **more: Any) -> Translation:
    """Return a flag that is on where another is."""
    gate = p.Gate(p.Answered(key, lambda answer: answer.value is True), OFF)
    return flag(gate, named=Named(flags=(key,)), **more)


@pytest.mark.parametrize("ci", ["", "false", "true"])
@pytest.mark.parametrize("find", [suite, vectors])
@pytest.mark.parametrize("where", ["no variable", "no folder"])
def test_missing_data_skips_and_fails_in_ci(
    find: Any, where: str, ci: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Either says which command tells how to get it."""
    monkeypatch.delenv("MATRIXFLAG_VECTORS", raising=False)
    monkeypatch.setenv("CI", ci)
    if where == "no variable":
        monkeypatch.delenv("MATRIXFLAG_SUITES", raising=False)
    else:
        monkeypatch.setenv("MATRIXFLAG_SUITES", str(tmp_path / "suites"))
    wanted = FileNotFoundError if ci == "true" else pytest.skip.Exception
    with pytest.raises(wanted, match="make suites-help"):
        find("nothing.json")


def test_a_suite_that_lacks_a_file_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its folder alone is not enough, and the file that is wanted is named."""
    (tmp_path / "some").mkdir()
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("MATRIXFLAG_SUITES", str(tmp_path))
    assert suite("some") == tmp_path / "some"
    with pytest.raises(FileNotFoundError, match=r"some/cases.json; `make suites-help`"):
        suite("some", "cases.json")


def test_vectors_are_beside_the_suites_unless_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A variable of their own comes first."""
    for name in ("vectors", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "some.json").touch()
    monkeypatch.delenv("MATRIXFLAG_VECTORS", raising=False)
    monkeypatch.setenv("MATRIXFLAG_SUITES", str(tmp_path / "suites"))
    assert vectors("some.json") == tmp_path / "vectors" / "some.json"
    monkeypatch.setenv("MATRIXFLAG_VECTORS", str(tmp_path / "other"))
    assert vectors("some.json") == tmp_path / "other" / "some.json"


def test_flags_are_compiled_after_those_they_ask() -> None:
    """In whatever order they are given; a flag that is not there is asked, too."""
    translations = {
        "last": asking("middle"),
        "middle": asking("first"),
        "first": flag(p.Gate(IS_PRO, OFF)),
        "alone": asking("gone"),
    }
    compiled = compile_translations(translations, metadata={"last": {"team": "a"}})
    assert compiled.evaluate("last", PRO).value is True
    assert compiled.evaluate("last", PRO).metadata == {"team": "a"}
    assert compiled.evaluate("last", FREE).value is False
    assert compiled.evaluate("alone", PRO).value is False
    assert compiled.evaluate("gone", PRO).error_code == ErrorCode.FLAG_NOT_FOUND


def test_flags_on_a_circle_run_what_they_have_for_it() -> None:
    """One that only leads to the circle asks as always."""
    translations = {
        "one": asking("other", circular=p.Program((), p.Outcome("on", Reason.DEFAULT))),
        "other": asking("one"),
        "user": asking("one"),
    }
    compiled = compile_translations(translations)
    assert compiled.evaluate("one", {}).reason == Reason.DEFAULT
    assert compiled.evaluate("other", {}).error_code == ErrorCode.PARSE_ERROR
    assert compiled.evaluate("user", {}).reason == Reason.TARGETING_MATCH


def test_segments_name_each_other() -> None:
    """One that is not there holds for nobody; one on a circle makes its flags unusable."""
    in_a = p.Gate(p.InSegment("a"), OFF)
    translations = {
        "in-a": flag(in_a, named=Named(("a",))),
        "in-gone": flag(p.Gate(p.InSegment("gone"), OFF), named=Named(("gone",))),
        "in-loop": flag(p.Gate(p.negation(p.InSegment("to")), OFF), named=Named(("to",))),
    }
    segments = {
        "a": p.InSegment("b"),
        "b": IS_PRO,
        "loop": p.any_of([p.InSegment("to"), IS_PRO]),
        "to": p.InSegment("loop"),
    }
    compiled = compile_translations(translations, segments)
    assert [compiled.evaluate("in-a", context).value for context in (PRO, FREE)] == [True, False]
    assert compiled.evaluate("in-gone", PRO).value is False
    assert compiled.evaluate("in-loop", PRO).error_code == ErrorCode.PARSE_ERROR


def test_a_flag_without_a_program_says_why() -> None:
    """Its first problem is what it answers."""
    problem = Problem("/a", ProblemCode.WRONG_TYPE, "not a number")
    compiled = compile_translations({"a": Translation(None, {}, problems=(problem,))})
    answer = compiled.evaluate("a", {})
    assert (answer.error_code, answer.error_details) == (ErrorCode.PARSE_ERROR, "not a number")
    assert answer.value is UNSET


@pytest.mark.parametrize("translation", [asking("x"), flag(p.Gate(p.InSegment("x"), OFF))])
def test_what_is_asked_must_be_named(translation: Translation) -> None:
    """Else the compiler would make them in a wrong order."""
    forgetful = Translation(translation.program, VARIANTS)
    with pytest.raises(AssertionError, match="not named"):
        compile_translations({"a": forgetful})


def test_a_timeline_is_evaluated_by_time() -> None:
    """The time is an argument."""
    timeline = p.Timeline(p.Program((), OFF), ((1_000, p.Program((), ON)),))
    compiled = compile_translations({"a": Translation(timeline, VARIANTS)})
    assert [compiled.evaluate("a", {}, now).value for now in (999, 1_000)] == [False, True]
