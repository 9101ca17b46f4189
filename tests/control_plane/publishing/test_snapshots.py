"""One environment's snapshot: what a change costs and what stays the same."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.publishing.snapshots import EnvironmentSnapshot, Published
from proxy.contract.snapshot import EntryKind, encode_entry, read_snapshot
from proxy.contract.steps import finish

AT = "2026-11-22T12:00:00.000Z"

names = st.tuples(st.sampled_from(["segment", "flag", "key"]), st.sampled_from("aäbÿz\U0001f600"))
changes = st.lists(
    st.dictionaries(names, st.none() | st.integers(0, 3), min_size=1, max_size=4), max_size=12
)


def empty() -> EnvironmentSnapshot:
    """Return a snapshot of nothing."""
    return EnvironmentSnapshot("default", "production", "e", Published(1, AT))


def lines(content: dict[tuple[EntryKind, str], int]) -> dict[tuple[EntryKind, str], bytes]:
    """Return the lines of definitions that are numbers."""
    return {name: encode_entry(*name, value) for name, value in content.items()}


@given(changes)
def test_however_content_came_to_be_it_is_the_same_snapshot(
    steps: list[dict[tuple[EntryKind, str], int | None]],
) -> None:
    """Replicas that applied changes and replicas that loaded the result serve equal bytes."""
    followed = empty()
    content: dict[tuple[EntryKind, str], int] = {}
    for step in steps:
        followed.apply(
            {n: None if v is None else encode_entry(*n, v) for n, v in step.items()},
            Published(2, AT),
        )
        for name, value in step.items():
            content.pop(name, None)
            if value is not None:
                content[name] = value
    loaded = empty()
    finish(loaded.fill(lines(content)))
    loaded.publish("e", followed.published)
    assert followed.body() == loaded.body()
    assert followed.size == loaded.size == sum(len(line) + 1 for line in lines(content).values())


@given(st.dictionaries(names, st.integers(0, 3)))
def test_a_sidecar_reads_what_is_published(content: dict[tuple[EntryKind, str], int]) -> None:
    """The body passes the reader of the contract: order, count and digest are right."""
    snapshot = empty()
    finish(snapshot.fill(lines(content)))
    read = finish(read_snapshot(snapshot.body()))
    assert read.header == snapshot.header()
    assert {name: entry.line for name, entry in read.entries.items()} == lines(content)


def test_a_body_is_joined_once_a_revision() -> None:
    """A thousand sidecars that ask are given one object."""
    snapshot = empty()
    assert snapshot.body() is snapshot.body()


def test_a_new_epoch_is_in_the_body_at_once() -> None:
    """The digest stays, because the content does."""
    snapshot = empty()
    digest = snapshot.digest
    assert b'"epoch":"e"' in snapshot.body()
    snapshot.publish("f", Published(1, AT))
    assert b'"epoch":"f"' in snapshot.body()
    assert snapshot.digest == digest


def test_what_a_change_would_weigh_is_known_before_it_is_made() -> None:
    """Lines replaced, added and removed count with their newlines."""
    snapshot = empty()
    first = lines({("flag", "a"): 1, ("flag", "b"): 2})
    snapshot.apply(first, Published(2, AT))
    longer = encode_entry("flag", "a", "a longer one")
    change = {("flag", "a"): longer, ("flag", "b"): None, ("key", "none"): None}
    expected = finish(snapshot.size_after(change))
    snapshot.apply(change, Published(3, AT))
    assert snapshot.size == expected == len(longer) + 1
