"""The API and the sidecar agree on what a good flag is, whatever is written, in whatever order.

Random projects of flags that ask one another, valid, nearly valid and mutated, go the way of a
request into the state of a project in memory. What that publishes is compiled as a sidecar does.

    accepted     compiles, with everything that was there before; nothing is quarantined
    quarantined  was refused, put there past the API's back
    refused      is quarantined, unless for a reason that only an author is told
"""

import json
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import ExitStack
from copy import deepcopy
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.environments.model import (
    Environment,
    EnvironmentRecord,
    Project,
    ProjectRecord,
)
from control_plane.errors import ApiError, Invalid
from control_plane.flags import authoring
from control_plane.flags.authoring import Circumstances
from control_plane.flags.service import FlagService
from control_plane.publishing.state import (
    Change,
    Edit,
    FlagRecord,
    ProjectState,
    RecordKind,
    SegmentRecord,
    Step,
    encode_record,
)
from control_plane.web.documents import decode_document
from proxy.contract.authoring import FlagInput, project
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import EnvironmentConfig, Flag, Segment, Serve
from proxy.contract.problems import Problem, has_errors
from proxy.contract.snapshot import encode_entry, read_entry, read_snapshot
from proxy.contract.steps import finish
from proxy.engine import check_segment, compile_snapshot, limits
from tests.proxy.engine.operators.samples import VALID
from tests.proxy.engine.strategies import SEGMENTS, arms
from tests.support.definitions import AT, AUTHOR, any_version, segment_record

T = TypeVar("T")

FLAGS = ["f0", "f1", "f2", "f3"]
ENVIRONMENTS = ["production", "staging"]
VARIANTS = ["on", "off", "third"]
NOW_MS = 1_796_342_400_000

BOUNDS = {
    "MAX_PREREQUISITES": 2,
    "MAX_PREREQUISITE_NESTING": 2,
    "MAX_PREREQUISITES_IN_ALL": 4,
    "MAX_SEGMENT_NESTING": 2,
    "MAX_SEGMENT_CONDITIONS": 4,
    "MAX_SEGMENT_REFERENCES": 2,
    "MAX_CONDITIONS": 5,
    "MAX_RULES": 1,
    "MAX_VALUES": 3,
    "MAX_VALUES_IN_ALL": 20,
    "MAX_VARIANTS": 4,
    "MAX_TAGS": 2,
}
"""Both sides have the same; small ones are met, and a project of four flags goes beyond them."""

ONLY_AUTHORS = {
    ProblemCode.UNKNOWN_FLAG,  # a sidecar serves who asks it as off
    ProblemCode.PREREQUISITE_CYCLE,  # of flags that are not all enabled
    ProblemCode.VARIANT_IN_USE,
    ProblemCode.UNKNOWN_ENVIRONMENT,
    ProblemCode.OTHER_ENVIRONMENT_CHANGED,
    ProblemCode.VALUE_DISAGREES,
    ProblemCode.READ_ONLY,
    ProblemCode.INVALID_DATE,  # of `expires`
    ProblemCode.INVALID_SALT,  # of what is native; others' may have any text
    ProblemCode.INVALID_KEY,
}
SENT = ("type", "variants", "metadata", "client_side", "track")
"""Members of a flag that sidecars are sent, besides how an environment serves it."""


# What is written

MOMENTS = ["2026-12-01T00:00:00Z", "2026-12-05T12:00:00+01:00", "2026-12-08T00:00:00.123456Z"]
_OTHERS = ["f9", "s9", "nobody", "targetingKey", "", "2026-12-01", "24:00", "^(", "1.2"]
_JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, 50_000, 100_000, 2**53, 10**30, [], {}, [None], [["on"]]),
    *(*FLAGS, *SEGMENTS, *VARIANTS, *VALID, *MOMENTS, *_OTHERS, {"variant": "on"}, {"all": []}),
]
PLAIN = """{"key": "KEY", "type": "string", "variants": {"on": "1", "off": "2", "third": "3"},
"environments": {"production": {"enabled": true, "fallthrough": {"variant": "on"}}}}"""
_MEMBERS = ["variant", "rollout", "ramp", "active", "by", "zone", "fold", "until", "unknown"]


junk = st.sampled_from(_JUNK).map(deepcopy)


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a leaf of any operator that there is, right as it stands."""
    op = draw(st.sampled_from(sorted(VALID)))
    leaf = {"op": op, **VALID[op]}
    timed = op in {"before", "after", "weekday", "time_of_day"}
    if not timed or draw(st.booleans()):
        leaf["attribute"] = draw(st.sampled_from(["a", "a.b", "list[0]"]))
    if draw(st.booleans()):
        leaf["negate"] = True
    return leaf


_named = st.sampled_from(SEGMENTS).map(lambda key: {"segment": key})
_simple = leaves() | _named
whens = st.one_of(
    _simple,
    st.lists(_simple, max_size=3).map(lambda some: {"all": some}),
    st.tuples(leaves(), _named).map(lambda two: {"any": [{"not": two[0]}, {"all": [two[1]]}]}),
)


def moments() -> st.SearchStrategy[list[str]]:
    """Draw two times, the earlier one first."""
    return st.sampled_from([(0, 1), (0, 2), (1, 2)]).map(lambda pair: [MOMENTS[i] for i in pair])


@st.composite
def ramps(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a ramp."""
    variant, other = draw(st.permutations(VARIANTS))[:2]
    start, end = draw(moments())
    ramp = {"variant": variant, "else": other, "start": start, "end": end}
    for member in ("from", "to"):
        if draw(st.booleans()):
            ramp[member] = draw(st.integers(0, 100_000))
    return {"ramp": ramp}


def serves() -> st.SearchStrategy[dict[str, Any]]:
    """Draw what is served."""
    plain = st.sampled_from(VARIANTS).map(lambda name: {"variant": name})
    return plain | ramps() | arms(VARIANTS).map(lambda some: {"rollout": {"arms": some}})


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a rule."""
    rule = {"when": draw(whens), "serve": draw(serves())}
    if draw(st.booleans()):
        since, until = draw(moments())
        window = {"from": since, "until": until}
        rule["active"] = draw(st.sampled_from([window, {"from": since}, {"until": None}]))
    return rule


@st.composite
def configs(draw: st.DrawFn, key: str) -> dict[str, Any]:
    """Draw how an environment serves a flag, or means to; it seldom asks itself."""
    config: dict[str, Any] = {"fallthrough": draw(serves()), "enabled": draw(st.booleans())}
    others = [flag for flag in FLAGS if flag != key]
    some = st.sampled_from([*others, *others, *others, key])
    asked = draw(st.lists(some, max_size=2, unique=True))
    wanted = st.lists(st.sampled_from(VARIANTS), min_size=1, max_size=2, unique=True)
    config["prerequisites"] = [{"flag": flag, "variants": draw(wanted)} for flag in asked]
    config["rules"] = draw(st.lists(rules(), max_size=1))
    if draw(st.booleans()):
        config["off_variant"] = draw(st.sampled_from(VARIANTS))
        config["targets"] = [{"variant": "on", "units": ["u-1"]}]
    return config


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterable[tuple[Any, ...]]:
    """Yield the path of everything within a document."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for step, inner in items:
        yield (*path, step)
        yield from _places(inner, (*path, step))


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


@st.composite
def mutated(draw: st.DrawFn, documents: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """Draw a document, most often with something in it that is out of place."""
    document: dict[str, Any] = deepcopy(draw(documents))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        places = list(_places(document))
        place = draw(st.sampled_from(places))
        inside = _at(document, place[:-1])
        how = draw(st.sampled_from(["junk", "junk", "other", "gone", "more", "twice"]))
        if how == "gone":
            del inside[place[-1]]
        elif how == "other":  # what is right in another place
            inside[place[-1]] = deepcopy(_at(document, draw(st.sampled_from(places))))
        elif how == "more" and isinstance(inside, dict):
            inside[draw(st.sampled_from(_MEMBERS))] = draw(junk)
        elif how == "twice" and isinstance(inside, list):
            inside.append(deepcopy(inside[place[-1]]))
        else:
            inside[place[-1]] = draw(junk)
        if not list(_places(document)):
            break
    return document


@st.composite
def flags(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a flag of the project, as its author writes it."""
    names = draw(st.sampled_from([["production"], ["production"], ["staging"], ENVIRONMENTS]))
    fewer = draw(st.integers(0, 5)) == 0
    key = draw(st.sampled_from(FLAGS))
    return {
        "key": key,
        "type": "string",
        "variants": {name: name for name in (VARIANTS[:2] if fewer else VARIANTS)},
        "environments": {name: draw(configs(key)) for name in names},
    }


documents = mutated(flags())

segments = st.builds(
    lambda key, when: {"key": key, "when": when},
    st.sampled_from(SEGMENTS),
    whens,
)


@st.composite
def asks(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a merge patch that lets a flag ask one or two others; or itself."""
    asked = draw(st.lists(st.sampled_from(FLAGS), min_size=1, max_size=2))
    wanted = [{"flag": key, "variants": ["on"]} for key in asked]
    environment = draw(st.sampled_from([*["production"] * 5, "staging"]))
    return draw(_keys), {"environments": {environment: {"prerequisites": wanted}}}


_keys = st.sampled_from(FLAGS)
_forced = st.tuples(_keys, st.booleans())
asking = st.one_of(
    *[st.tuples(st.just("patch"), asks())] * 10,
    st.tuples(st.sampled_from(["delete", "archive"]), _forced),
    st.tuples(st.just("back"), _keys),
)
writes = st.one_of(
    asking,
    st.tuples(st.just("flag"), documents),
    st.tuples(st.just("patch"), st.tuples(_keys, mutated(flags()))),
    st.tuples(st.just("segment"), mutated(segments)),
)


# Where it goes

_PLAIN = EnvironmentConfig(Serve(variant="on"), enabled=True, salt="s")
_VALUES = {name: name for name in VARIANTS}
BASE = [
    *(Edit(RecordKind.SEGMENT, key, segment_record(key)) for key in SEGMENTS),
    *(
        Edit(
            RecordKind.FLAG,
            key,
            FlagRecord(
                Flag(key, "string", _VALUES, dict.fromkeys(ENVIRONMENTS, _PLAIN)), 1, AT, AT
            ),
        )
        for key in FLAGS
    ),
]


class Memory:
    """What the service needs of a replica, without Redis: nobody else writes.

    All segments and flags are there, and ask for nothing yet.
    """

    def __init__(self) -> None:
        records = [
            (
                RecordKind.ENVIRONMENT,
                name,
                encode_record(EnvironmentRecord(Environment(name), 1, AT, AT)),
            )
            for name in ENVIRONMENTS
        ]
        project = ProjectRecord(Project("default"), AT)
        step = Step(1, "head", {})
        self.state = finish(ProjectState.load(project, "epoch", step, records))
        self.apply(*BASE)

    def project(self, _name: str) -> ProjectState:
        return self.state

    async def last_version(self, _project: str, _key: str) -> int:
        return 0

    async def commit(self, _project: str, build: Any) -> Change:
        change: Change = build(self.state)
        self.apply(*change.edits)
        return change

    def apply(self, *edits: Edit) -> None:
        """Put records in place, whatever they are."""
        prepared = finish(self.state.prepare(edits))
        step = self.state.next_step(prepared, f"head-{self.state.sequence}", AT)
        self.state.apply(prepared, step)


def done(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")


def bounded() -> ExitStack:
    """Make the bounds of both sides small."""
    stack = ExitStack()
    for name, value in BOUNDS.items():
        stack.enter_context(patch.object(limits, name, value))
    return stack


def encoded(document: Any) -> bytes:
    """Return the body that a client sends."""
    return json.dumps(document).encode()


def quarantined(memory: Memory, lines: Mapping[str, bytes] = {}) -> dict[str, list[Problem]]:
    """Return what sidecars cannot serve; each environment's line is put in its snapshot."""
    found: dict[str, list[Problem]] = {}
    for environment, snapshot in memory.state.snapshots.items():
        entries = finish(read_snapshot(snapshot.body())).entries
        if environment in lines:
            entry = read_entry(lines[environment])
            entries[entry.kind, entry.key] = entry
        compiled = finish(compile_snapshot(entries))
        for key, problems in compiled.quarantined.items():
            found.setdefault(key, []).extend(problems)
        for key, segment in compiled.segments.items():
            found.setdefault(key, []).extend(segment.problems)
    return {key: problems for key, problems in found.items() if problems}


def unchecked(document: dict[str, Any]) -> dict[str, bytes] | None:
    """Return the line of a flag in each environment though nobody has looked at what it means.

    Where its shape is wrong, too, its members are put where they would be; None for what has no
    members to be put anywhere.
    """
    try:
        around = Circumstances(ENVIRONMENTS, asked_of(document), lambda: "s", NOW_MS)
        flag = authoring.create(decode_document(encoded(document), FlagInput), around).flag
        if flag.archived:
            return {}
        return {name: encode_entry("flag", flag.key, project(flag, name)) for name in ENVIRONMENTS}
    except ApiError:
        pass
    made = {}
    given, key = document.get("environments"), document.get("key")
    if not isinstance(given, dict) or not isinstance(key, str):
        return None
    for name in ENVIRONMENTS:
        config = given.get(name, {"fallthrough": {"variant": "on"}})
        if not isinstance(config, dict):
            return None
        definition = {member: document[member] for member in SENT if member in document}
        definition |= {"salt": "s"} | config
        made[name] = encoded({"kind": "flag", "key": key, "def": definition})
    return made


def is_only_for_authors(problem: Problem, document: dict[str, Any]) -> bool:
    """Return whether a problem is none of a sidecar's."""
    member, *path = problem.pointer.removeprefix("/").split("/")
    if problem.code in ONLY_AUTHORS or member not in (*SENT, "environments"):
        return True
    if path and member == "environments" and path[0] not in ENVIRONMENTS:
        return True
    match path:
        case [_, "prerequisites"]:  # too many in a row, of flags that are not all enabled
            return True
        case [_, "prerequisites", _, "variants", _]:  # of the other flag: who asks it is off
            return problem.code is ProblemCode.UNKNOWN_VARIANT
        case [environment, *_]:  # of a flag that is off nobody is asked
            enabled = document["environments"][environment].get("enabled") is True
            return problem.code is ProblemCode.UNKNOWN_SEGMENT and not enabled
    return False


def asked_of(document: dict[str, Any]) -> str:
    """Return the environment that a request with this document is about."""
    configs = document.get("environments")
    return "staging" if isinstance(configs, dict) and "production" not in configs else "production"


def write_flag(memory: Memory, document: dict[str, Any]) -> list[Problem]:
    """Create a flag, or replace it where it is there; return why it is refused, if it is."""
    service = FlagService(memory)  # type: ignore[arg-type]  # all of it that is used
    scope = ("default", asked_of(document))
    try:
        given = decode_document(encoded(document), FlagInput)
        key = document.get("key")
        if key in memory.state.flags:
            work = service.replace(
                *(*scope, key, given, document.keys(), AUTHOR, any_version), rebucket=True
            )
        else:
            work = service.create(*scope, given, AUTHOR)
        done(work)
    except Invalid as error:
        return list(error.problems)
    return []


def write(memory: Memory, what: str, given: Any) -> None:
    """Do one of `writes`, which may be refused."""
    service = FlagService(memory)  # type: ignore[arg-type]  # all of it that is used
    try:
        if what == "flag":
            write_flag(memory, given)
        elif what == "back" and given not in memory.state.flags:
            write_flag(memory, json.loads(PLAIN.replace("KEY", given)))
        elif what == "back":
            write(memory, "archive", (given, False))
        elif what == "segment":
            segment = msgspec.convert(given, Segment)
            if not has_errors(check_segment(segment, memory.state.segment_documents)):
                record = SegmentRecord(segment, 1, AT, AT)
                memory.apply(Edit(RecordKind.SEGMENT, segment.key, record))
        elif what == "delete":
            key, force = given
            done(service.delete("default", key, AUTHOR, any_version, force=force))
        else:
            key, changes = given
            if what == "archive":
                changes = {"archived": changes}
            elif "key" in changes:
                changes = changes | {"key": key}
            changes = json.loads(encoded(changes))
            scope = ("default", asked_of(changes))
            done(
                service.patch(
                    *(*scope, key, changes),
                    lambda body: decode_document(body, FlagInput),
                    AUTHOR,
                    any_version,
                    rebucket=True,
                )
            )
    except (ApiError, msgspec.ValidationError):
        return


# What has to be so

heavy = settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@heavy
@given(st.lists(writes, min_size=1, max_size=12))
def test_what_the_api_accepts_compiles(changes: list[tuple[str, Any]]) -> None:
    """After every write, in every environment, everything that is published."""
    with bounded():
        memory = Memory()
        for change in changes:
            write(memory, *change)
            assert quarantined(memory) == {}


@settings(max_examples=300)
@given(st.lists(asking, min_size=12, max_size=16))
def test_flags_that_ask_one_another_compile(changes: list[tuple[str, Any]]) -> None:
    """In whatever order they came to: neither in circles, nor too many in a row or in all."""
    with bounded():
        memory = Memory()
        for change in changes:
            write(memory, *change)
        assert quarantined(memory) == {}


@heavy
@given(st.lists(writes, max_size=4), documents)
def test_what_is_quarantined_was_refused(
    changes: list[tuple[str, Any]], document: dict[str, Any]
) -> None:
    """And what was refused is quarantined, but for what only authors are told."""
    with bounded():
        memory = Memory()
        for change in changes:
            write(memory, *change)
        if document.get("key") in FLAGS:
            write(memory, "delete", (document["key"], True))
        lines = unchecked(document)
        broken = {} if lines is None else quarantined(memory, lines)
        errors = [p for p in write_flag(memory, document) if p.severity is Severity.ERROR]
        if lines is None or broken:
            assert errors
        else:
            assert [p for p in errors if not is_only_for_authors(p, document)] == []
