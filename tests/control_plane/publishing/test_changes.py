"""What replicas tell each other, as bytes."""

import msgspec
import pytest

from control_plane.environments.model import (
    Environment,
    EnvironmentRecord,
    Project,
    ProjectRecord,
)
from control_plane.publishing.changes import (
    commit_of,
    decode_change,
    decode_history,
    edits_of,
    reload_message,
)
from control_plane.publishing.state import (
    Change,
    Edit,
    ProjectState,
    RecordKind,
    Step,
    StoredDataError,
)
from control_plane.store.keys import MAX_CHANGE_BYTES
from control_plane.store.projects import Commit
from proxy.contract.steps import finish
from tests.support.definitions import (
    AT,
    AUTHOR,
    ENVIRONMENTS,
    changed,
    flag_record,
    segment_record,
)

FLAG, SEGMENT = RecordKind.FLAG, RecordKind.SEGMENT


def state() -> ProjectState:
    """Return a project with one flag."""
    project = ProjectState(ProjectRecord(Project("p"), AT), "e", 7, "head")
    apply(project, Edit(FLAG, "old", flag_record("old", 3)))
    return project


def apply(project: ProjectState, *edits: Edit) -> None:
    """Apply edits."""
    prepared = finish(project.prepare(edits))
    project.apply(prepared, project.next_step(prepared, "head", AT))


def committed(project: ProjectState, *edits: Edit) -> Commit:
    """Return the step of a change."""
    prepared = finish(project.prepare(edits))
    step = project.next_step(prepared, "next", AT)
    change = Change("test", AUTHOR, AT, edits)
    return finish(commit_of(project, change, prepared, step, b"audit"))


def test_a_change_is_read_as_it_was_made() -> None:
    """Set and removed records, the heads before and after."""
    edits = (
        Edit(FLAG, "a", flag_record("a", value="ü")),
        Edit(SEGMENT, "s", segment_record("s")),
        Edit(FLAG, "old", None),
    )
    commit = committed(state(), *edits)
    message = decode_change(commit.change)
    assert edits_of(message) == edits
    assert (message.previous, message.head) == ("head", "next")
    assert message.step(9) == Step(9, "next", {})
    assert not message.diverges_from("head")
    assert message.diverges_from("another")


def test_each_version_of_a_flag_is_kept_and_of_nothing_else() -> None:
    """The deletion is a version, too."""
    commit = committed(
        state(),
        Edit(FLAG, "a", flag_record("a", 5)),
        Edit(SEGMENT, "s", segment_record("s")),
        Edit(FLAG, "old", None),
    )
    kept = [write.history for write in commit.writes]
    assert kept[1] is None
    at_ms, _, entry = (kept[0] or b"").partition(b" ")
    assert int(at_ms) == 1795348800000
    assert (decode_history(entry).version, decode_history(entry).actor) == (5, "tester")
    gone = decode_history((kept[2] or b"").partition(b" ")[2])
    assert (gone.version, gone.flag) == (4, None)


def test_a_version_says_at_which_revisions_it_came_to_be() -> None:
    """Of environments that it changes the new one, of others the one they stay at."""
    project = state()
    for name in ENVIRONMENTS:
        made = EnvironmentRecord(Environment(name), 1, AT, AT)
        apply(project, Edit(RecordKind.ENVIRONMENT, name, made))
    record = flag_record("a")
    apply(project, Edit(FLAG, "a", record))
    before = {name: snapshot.revision for name, snapshot in project.snapshots.items()}
    configs = dict(record.flag.environments)
    configs["staging"] = changed(configs["staging"], enabled=False)
    edit = Edit(FLAG, "a", changed(record, flag=changed(record.flag, environments=configs)))
    entry = (committed(project, edit).writes[0].history or b"").partition(b" ")[2]
    assert decode_history(entry).revisions == before | {"staging": before["staging"] + 1}


def test_a_version_of_before_revisions_were_kept_is_read() -> None:
    """Nothing that was stored becomes unreadable."""
    commit = committed(state(), Edit(FLAG, "a", flag_record("a")))
    entry = msgspec.json.decode((commit.writes[0].history or b"").partition(b" ")[2])
    del entry["revisions"]
    assert decode_history(msgspec.json.encode(entry)).revisions == {}


def test_a_change_too_large_tells_to_read_everything() -> None:
    """It follows on the same head, so that a divergence is still seen."""
    value = "x" * (MAX_CHANGE_BYTES // 4)
    edits = [Edit(FLAG, f"f{n}", flag_record(f"f{n}", value=value)) for n in range(5)]
    message = decode_change(committed(state(), *edits).change)
    assert message.reload
    assert message.put == []
    assert message.diverges_from("another")


def test_a_new_epoch_follows_on_whatever_was() -> None:
    """Nobody's head is wrong for it."""
    assert not decode_change(reload_message("", "head", AT)).diverges_from("any")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"previous":1}'])
def test_what_cannot_be_read_is_an_error_of_the_data(data: bytes) -> None:
    """Not a surprise."""
    with pytest.raises(StoredDataError):
        decode_change(data)
    with pytest.raises(StoredDataError):
        decode_history(data)


def test_unknown_members_of_a_change_are_passed_over() -> None:
    """A newer replica beside this one may say more, as long as records are the same."""
    commit = committed(state(), Edit(FLAG, "a", flag_record("a")))
    document = msgspec.json.decode(commit.change) | {"more": 1}
    assert edits_of(decode_change(msgspec.json.encode(document)))
