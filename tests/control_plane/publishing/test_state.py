"""One project in memory: changes, indexes and snapshots, without Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.access.model import KeyRecord
from control_plane.environments.model import (
    Environment,
    EnvironmentRecord,
    Project,
    ProjectRecord,
)
from control_plane.publishing.state import (
    Edit,
    Name,
    ProjectState,
    Record,
    RecordKind,
    Step,
    StoredDataError,
    decode_record,
    encode_record,
)
from proxy.contract.codes import KeyKind
from proxy.contract.definitions import Prerequisite
from proxy.contract.steps import finish
from tests.support.definitions import (
    AT,
    ENVIRONMENTS,
    changed,
    flag_record,
    segment_record,
    uses,
)

FLAG, SEGMENT = RecordKind.FLAG, RecordKind.SEGMENT


def state(*environments: str) -> ProjectState:
    """Return an empty project with these environments."""
    records = [
        (
            RecordKind.ENVIRONMENT,
            name,
            encode_record(EnvironmentRecord(Environment(name), 1, AT, AT)),
        )
        for name in environments or ENVIRONMENTS
    ]
    record = ProjectRecord(Project("default"), AT)
    return finish(ProjectState.load(record, "epoch", Step(1, "head", {}), records))


def apply(project: ProjectState, *edits: Edit) -> list[str]:
    """Apply edits, and return the environments whose snapshot changed."""
    prepared = finish(project.prepare(edits))
    project.apply(prepared, project.next_step(prepared, f"head-{project.sequence}", AT))
    return sorted(prepared.affected())


def key_record(kind: KeyKind, environment: str = "production") -> KeyRecord:
    """Return the record of a key."""
    return KeyRecord("k_1", "", kind, "default", environment, "h" * 64, "mf_x", AT)


def records_of(project: ProjectState) -> list[tuple[RecordKind, str, bytes]]:
    """Return what is stored of a project."""
    tables = (project.environments, project.segments, project.flags, project.keys)
    kinds = (RecordKind.ENVIRONMENT, SEGMENT, FLAG, RecordKind.KEY)
    return [
        (kind, key, encode_record(record))
        for kind, table in zip(kinds, tables, strict=True)
        for key, record in table.items()
    ]


def test_a_flag_is_a_line_in_every_environment() -> None:
    """Also where it is not configured: there it is disabled."""
    project = state("production", "qa")
    only = flag_record("a")
    config = only.flag.environments["production"]
    flag = changed(only.flag, environments={"production": config})
    assert apply(project, Edit(FLAG, "a", changed(only, flag=flag))) == ["production", "qa"]
    assert b'"enabled":true' in (project.snapshots["production"].line("flag", "a") or b"")
    assert b'"enabled":true' not in (project.snapshots["qa"].line("flag", "a") or b"")


def test_only_environments_whose_lines_differ_get_a_revision() -> None:
    """A change in staging is none in production, and a description is none anywhere."""
    project = state()
    record = flag_record("a")
    apply(project, Edit(FLAG, "a", record))
    configs = dict(record.flag.environments)
    configs["staging"] = changed(configs["staging"], enabled=False)
    flag = changed(record.flag, environments=configs)
    before = {name: snapshot.revision for name, snapshot in project.snapshots.items()}
    assert apply(project, Edit(FLAG, "a", changed(record, flag=flag))) == ["staging"]
    described = changed(flag, description="what it is for")
    assert apply(project, Edit(FLAG, "a", changed(record, flag=described))) == []
    after = {name: snapshot.revision for name, snapshot in project.snapshots.items()}
    assert after == before | {"staging": before["staging"] + 1}


def test_an_archived_flag_is_in_no_snapshot() -> None:
    """Archiving takes a flag out of service and keeps it for reference."""
    project = state()
    record = flag_record("a")
    apply(project, Edit(FLAG, "a", record))
    archived = changed(record, flag=changed(record.flag, archived=True))
    assert apply(project, Edit(FLAG, "a", archived)) == sorted(ENVIRONMENTS)
    assert project.snapshots["production"].entries() == 0


def test_a_removed_flag_leaves_no_line_and_no_key() -> None:
    """Neither in snapshots nor in the order that lists use."""
    project = state()
    for key in ("b", "a", "c"):
        apply(project, Edit(FLAG, key, flag_record(key)))
    assert project.flag_order == ["a", "b", "c"]
    apply(project, Edit(FLAG, "b", None))
    assert project.flag_order == ["a", "c"]
    assert project.snapshots["production"].line("flag", "b") is None


@pytest.mark.parametrize("kind", [KeyKind.SERVER, KeyKind.CLIENT])
def test_an_evaluation_key_is_a_line_in_its_environment(kind: KeyKind) -> None:
    """And found by its hash, until it is removed."""
    project = state()
    assert apply(project, Edit(RecordKind.KEY, "k_1", key_record(kind))) == ["production"]
    assert project.key_of_hash("h" * 64) == key_record(kind)
    assert apply(project, Edit(RecordKind.KEY, "k_1", None)) == ["production"]
    assert project.key_of_hash("h" * 64) is None


def test_a_sidecar_key_is_in_no_snapshot() -> None:
    """It opens the control plane, so sidecars have no business with it."""
    project = state()
    assert apply(project, Edit(RecordKind.KEY, "k_1", key_record(KeyKind.SIDECAR))) == []
    assert project.key_of_hash("h" * 64) is not None


def test_who_uses_a_segment_is_known() -> None:
    """Flags and segments, at any depth of a condition, and no longer than they do."""
    project = state()
    apply(project, Edit(SEGMENT, "beta", segment_record("beta")))
    apply(project, Edit(SEGMENT, "outer", segment_record("outer", when=uses("beta"))))
    apply(project, Edit(FLAG, "f", flag_record("f", segment="beta")))
    assert project.users(SEGMENT, "beta") == [Name(FLAG, "f"), Name(SEGMENT, "outer")]
    apply(project, Edit(FLAG, "f", flag_record("f")))
    assert project.users(SEGMENT, "beta") == [Name(SEGMENT, "outer")]
    apply(project, Edit(SEGMENT, "outer", None))
    assert project.users(SEGMENT, "beta") == []


def test_a_new_environment_has_all_lines_at_once() -> None:
    """Of what is there, and of what the same change sets."""
    project = state("production")
    apply(project, Edit(SEGMENT, "s", segment_record("s")), Edit(FLAG, "a", flag_record("a")))
    made = EnvironmentRecord(Environment("qa"), 1, AT, AT)
    apply(
        project,
        Edit(RecordKind.ENVIRONMENT, "qa", made),
        Edit(FLAG, "a", flag_record("a", version=2, value="changed")),
        Edit(FLAG, "b", flag_record("b")),
    )
    snapshot = project.snapshots["qa"]
    assert snapshot.entries() == 3
    assert b"changed" in (snapshot.line("flag", "a") or b"")
    assert snapshot.revision == 1
    assert snapshot.epoch == "epoch"


def test_preparing_alters_nothing() -> None:
    """What Redis then refuses has never been."""
    project = state()
    body = project.snapshots["production"].body()
    finish(project.prepare((Edit(FLAG, "a", flag_record("a")),)))
    assert project.flags == {}
    assert project.flag_order == []
    assert project.snapshots["production"].body() == body


def test_a_change_is_not_applied_to_another_state_than_it_was_prepared_for() -> None:
    """That would be a lost update; it is a mistake of ours, and loud."""
    project = state()
    prepared = finish(project.prepare((Edit(FLAG, "a", flag_record("a")),)))
    apply(project, Edit(FLAG, "b", flag_record("b")))
    with pytest.raises(ValueError, match="another state"):
        project.apply(prepared, project.next_step(prepared, "head", AT))


EDITS = st.one_of(
    st.builds(
        lambda key, value: Edit(FLAG, key, flag_record(key, value=value)),
        st.sampled_from(["a", "b", "ä"]),
        st.sampled_from(["x", "y"]),
    ),
    st.builds(lambda key: Edit(FLAG, key, None), st.sampled_from(["a", "b", "ä"])),
    st.builds(
        lambda key, other: Edit(SEGMENT, key, segment_record(key, when=uses(other))),
        st.sampled_from(["s", "t"]),
        st.sampled_from(["u", "v"]),
    ),
    st.builds(lambda key: Edit(SEGMENT, key, None), st.sampled_from(["s", "t"])),
    st.just(Edit(RecordKind.KEY, "k_1", key_record(KeyKind.SERVER))),
    st.just(Edit(RecordKind.KEY, "k_1", None)),
)


@given(st.lists(EDITS, max_size=20))
def test_following_changes_and_loading_their_result_give_the_same(edits: list[Edit]) -> None:
    """Bytes, indexes and orders: a replica that restarts serves what it served."""
    followed = state()
    for edit in edits:
        apply(followed, edit)
    published = {name: snapshot.published for name, snapshot in followed.snapshots.items()}
    step = Step(followed.sequence, followed.head, published)
    loaded = finish(ProjectState.load(followed.record, followed.epoch, step, records_of(followed)))
    for name, snapshot in followed.snapshots.items():
        assert loaded.snapshots[name].body() == snapshot.body()
    assert loaded.flag_order == followed.flag_order
    for used in ("u", "v"):
        assert loaded.users(SEGMENT, used) == followed.users(SEGMENT, used)
    assert loaded.key_of_hash("h" * 64) == followed.key_of_hash("h" * 64)


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (FLAG, flag_record("a", segment="s")),
        (SEGMENT, segment_record("s", when=uses("t"))),
        (RecordKind.ENVIRONMENT, EnvironmentRecord(Environment("qa", "QA"), 1, AT, AT)),
        (RecordKind.KEY, key_record(KeyKind.CLIENT)),
    ],
    ids=str,
)
def test_a_record_is_read_as_it_was_written(kind: RecordKind, record: Record) -> None:
    """Of every kind."""
    assert decode_record(kind, "x", encode_record(record)) == record


def test_who_has_a_flag_as_prerequisite_is_known() -> None:
    """In any environment, and until the last of them lets go."""
    project = state()
    record = flag_record("f", segment="beta")
    configs = dict(record.flag.environments)
    needs = [Prerequisite("api", ["v2"]), Prerequisite("plan", ["pro"])]
    configs["staging"] = changed(configs["staging"], prerequisites=needs)
    configs["production"] = changed(configs["production"], prerequisites=needs[:1])
    apply(
        project, Edit(FLAG, "f", changed(record, flag=changed(record.flag, environments=configs)))
    )
    assert project.users(FLAG, "api") == project.users(FLAG, "plan") == [Name(FLAG, "f")]
    assert project.users(SEGMENT, "beta") == [Name(FLAG, "f")]
    named = {Name(FLAG, "api"), Name(FLAG, "plan"), Name(SEGMENT, "beta")}
    assert project.uses(Name(FLAG, "f")) == named
    configs["staging"] = record.flag.environments["staging"]
    apply(
        project, Edit(FLAG, "f", changed(record, flag=changed(record.flag, environments=configs)))
    )
    assert (project.users(FLAG, "api"), project.users(FLAG, "plan")) == ([Name(FLAG, "f")], [])
    apply(project, Edit(FLAG, "f", None))
    assert project.users(FLAG, "api") == project.users(SEGMENT, "beta") == []
    assert project.uses(Name(FLAG, "f")) == frozenset()


def test_the_documents_of_flags_follow_the_state() -> None:
    """Without a copy, which would cost each write as much as there are flags."""
    project = state()
    documents = project.flag_documents
    apply(project, Edit(FLAG, "a", flag_record("a")))
    assert dict(documents) == {"a": flag_record("a").flag}
    apply(project, Edit(FLAG, "a", None))
    assert (len(documents), documents.get("a")) == (0, None)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"flag":{}}', b"[" * 10_000])
def test_what_cannot_be_read_is_named(data: bytes) -> None:
    """A flag left out would be a flag lost, so loading fails, and says where."""
    with pytest.raises(StoredDataError, match="flag 'broken'"):
        decode_record(FLAG, "broken", data)


def test_a_change_made_aside_is_the_same_and_seen_by_nobody_before() -> None:
    """Whoever reads meanwhile has all of the state before."""
    project, other = state(), state()
    start = [Edit(FLAG, key, flag_record(key)) for key in ("b", "d")]
    start.append(Edit(RecordKind.KEY, "k_1", key_record(KeyKind.SERVER)))
    record = flag_record("c")
    edits = (
        Edit(FLAG, "a", flag_record("a")),
        Edit(FLAG, "b", None),
        Edit(FLAG, "c", changed(record, flag=changed(record.flag, tags=["new"]))),
        Edit(RecordKind.KEY, "k_1", None),
    )
    for each in (project, other):
        apply(each, *start)
        each.snapshots["production"].body()
    prepared = finish(project.prepare(edits))
    step = project.next_step(prepared, "head", AT)
    bodies = {name: snapshot.body() for name, snapshot in project.snapshots.items()}

    def seen() -> tuple[object, ...]:
        now = {name: snapshot.body() for name, snapshot in project.snapshots.items()}
        pointers = [snapshot.pointer() for snapshot in project.snapshots.values()]
        return list(project.flags), project.flag_order, project.head, pointers, now

    before = ["b", "d"], ["b", "d"], project.head, *seen()[3:4], bodies
    steps = project.after(prepared, step)
    made = None
    while made is None:
        try:
            next(steps)
        except StopIteration as done:
            made = done.value
        assert seen() == before
    other.apply(finish(other.prepare(edits)), step)
    assert records_of(made) == records_of(other)
    assert made.flag_order == other.flag_order == ["a", "c", "d"]
    assert made.key_of_hash("h" * 64) is None
    assert project.key_of_hash("h" * 64) is not None
    facets = frozenset({"tag:new"})
    assert made.facets.with_all(facets) == other.facets.with_all(facets)
    assert project.facets.with_all(facets) == ((), frozenset())
    for name, snapshot in other.snapshots.items():
        assert made.snapshots[name].body() == snapshot.body()
        assert made.snapshots[name].size == snapshot.size
    finish(made.prepare((Edit(FLAG, "d", None),)))
    apply(made, Edit(FLAG, "d", None))
    assert seen() == before
