"""A large import holds the loop no longer than a small one: each step is of one flag.

What is counted are the lines of Python that a step runs, which no busy machine changes. Twice as
many flags may not make the longest step longer. Work of C is not seen by this.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from control_plane.audit.model import Author
from control_plane.environments.model import Environment, EnvironmentRecord, Project, ProjectRecord
from control_plane.imports.plan import Asked, Plan, planning
from control_plane.imports.service import edits_of
from control_plane.publishing import state
from control_plane.publishing.replica import prepare_commit
from control_plane.publishing.state import (
    Change,
    ProjectState,
    RecordKind,
    Step,
    encode_record,
)
from proxy.contract.definitions import DialectName
from proxy.contract.steps import Steps, finish
from proxy.engine import compile, import_document

AT = "2026-06-01T12:00:00.000Z"
FEW, MANY = 150, 300


def flagd(count: int) -> Any:
    logic = {"if": [{"==": [{"var": "country"}, "DE"]}, {"fractional": [["on", 1]]}, "off"]}
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    return {"flags": {f"f{i:04}": {**flag, "targeting": logic} for i in range(count)}}


def unleash(count: int) -> Any:
    rollout = {"rollout": "30", "stickiness": "userId", "groupId": "g"}
    strategy = {"name": "flexibleRollout", "parameters": rollout, "constraints": []}
    names = [(f"f{i:04}", i % 7) for i in range(count)]
    constraint = {"contextName": "plan", "operator": "IN", "values": ["pro"]}
    return {
        "version": 2,
        "features": [
            {"name": name, "enabled": True, "strategies": [{**strategy, "segments": [segment]}]}
            for name, segment in names
        ],
        "segments": [{"id": number, "constraints": [constraint]} for number in range(7)],
    }


def growthbook(count: int) -> Any:
    rules = [
        {"condition": {"country": "DE"}, "force": True},
        {"key": "e", "variations": [False, True], "weights": [0.5, 0.5], "hashAttribute": "id"},
    ]
    flag = {"defaultValue": False, "rules": rules}
    return {"features": {f"f{i:04}": flag for i in range(count)}}


def launchdarkly(count: int) -> Any:
    clause = {"attribute": "country", "op": "in", "values": ["DE"]}
    flag = {
        **{"on": True, "version": 1, "salt": "s", "variations": [True, False], "offVariation": 1},
        "rules": [{"clauses": [clause], "variation": 0}],
        "fallthrough": {"variation": 1},
    }
    flags = {f"f{i:04}": {"key": f"f{i:04}", **flag} for i in range(count)}
    return {"flags": flags, "segments": {}}


def goff(count: int) -> Any:
    rule = {"query": 'country eq "DE"', "percentage": {"on": 30, "off": 70}}
    flag = {
        "variations": {"on": True, "off": False},
        "targeting": [rule],
        "defaultRule": {"variation": "off"},
    }
    return {f"f{i:04}": flag for i in range(count)}


FILES: dict[DialectName, Callable[[int], Any]] = {
    "flagd": flagd,
    "unleash": unleash,
    "growthbook": growthbook,
    "launchdarkly": launchdarkly,
    "goff": goff,
}


def project() -> ProjectState:
    """Return a project of one environment."""
    record = encode_record(EnvironmentRecord(Environment("production"), 1, AT, AT))
    records = [(RecordKind.ENVIRONMENT, "production", record)]
    step = Step(1, "head", {})
    return finish(ProjectState.load(ProjectRecord(Project("default"), AT), "e", step, records))


class Counted:
    """Does work in steps, and knows how many lines the longest step ran, of each kind of work."""

    def __init__(self) -> None:
        self.longest: dict[str, int] = {}
        self._lines = 0

    def do(self, name: str, steps: Steps[Any]) -> Any:
        """Return the result of some work."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            while True:
                self._lines = 0
                next(steps)
                self._take(name)
        except StopIteration as done:
            self._take(name)
            return done.value
        finally:
            sys.settrace(before)

    def _take(self, name: str) -> None:
        self.longest[name] = max(self.longest.get(name, 0), self._lines)

    def _trace(self, _frame: FrameType, event: str, _: Any) -> Any:
        self._lines += event == "line"
        return self._trace


def imported(system: DialectName, count: int) -> dict[str, int]:
    """Import a file into an empty project, then again; return the longest step of each part."""
    held, counted = project(), Counted()
    found = import_document(system, FILES[system](count), {}, ["production"])
    assert len(found.flags) == count
    for turn in ("new", "again"):
        steps = planning(held, Asked("production", system, {}, False), found, ({}, {}))
        plan: Plan = counted.do(f"plan, {turn}", steps)
        versions = dict.fromkeys(plan.flags.created, 1)
        edits = counted.do(f"edits, {turn}", edits_of(plan, versions, AT))
        assert len(plan.flags.created) == (count if turn == "new" else 0)
        assert len(plan.flags.unchanged) == (0 if turn == "new" else count)
        change = Change("flag.import", Author("a", ""), AT, edits)
        prepared, step, _ = counted.do(f"commit, {turn}", prepare_commit(held, change))
        held = counted.do(f"apply, {turn}", held.after(prepared, step))
        assert len(held.flags) == count
    return counted.longest


@pytest.fixture
def few_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step is of a thousand small things, let it be of few, so that few flags are more."""
    monkeypatch.setattr(compile, "_ENTRIES_A_STEP", 10)
    monkeypatch.setattr(compile, "_CHAINED_A_STEP", 10)
    monkeypatch.setattr(state, "_COPIED_A_STEP", 10)


@pytest.mark.usefixtures("few_a_step")
@pytest.mark.parametrize("system", FILES)
def test_no_step_grows_with_the_number_of_flags(system: DialectName) -> None:
    """Of planning, of what is written, of making it durable and of making it current."""
    imported(system, 2)  # what is made once is made now
    few, many = imported(system, FEW), imported(system, MANY)
    grown = {name: (few[name], many[name]) for name in few if many[name] > few[name] * 1.3 + 50}
    assert not grown
