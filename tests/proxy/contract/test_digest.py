"""The digest is of content: whatever the order, and whatever happened before."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract import digest as digest_module
from proxy.contract.digest import SnapshotDigest


def by_definition(entries: dict[tuple[str, str], bytes]) -> str:
    """Return the digest as the wire format defines it."""
    buckets: list[list[bytes]] = [[] for _ in range(256)]
    for (kind, key), line in entries.items():
        name = kind.encode() + b"\0" + key.encode()
        buckets[sha256(name).digest()[0]].append(sha256(line).digest())
    hashes = [sha256(b"".join(sorted(b))).digest() if b else bytes(32) for b in buckets]
    return sha256(b"".join(hashes)).hexdigest()


_names = st.tuples(st.sampled_from(["flag", "segment"]), st.sampled_from("abcdefghä"))
_changes = st.lists(st.tuples(_names, st.none() | st.integers(0, 3)), max_size=30)


@settings(deadline=None)
@given(_changes)
def test_any_history_gives_the_digest_of_what_is_there(changes: Any) -> None:
    """Put, replaced and removed in any order; asked for in between."""
    digest, entries = SnapshotDigest(), {}
    for (kind, key), version in changes:
        if version is None:
            digest.remove(kind, key)
            entries.pop((kind, key), None)
        else:
            line = f"{kind}/{key}/{version}".encode()
            digest.put(kind, key, line)
            entries[kind, key] = line
        assert digest.hexdigest() == by_definition(entries)


def test_nothing_has_a_digest() -> None:
    """Fixed for ever: other implementations check against it."""
    assert SnapshotDigest().hexdigest() == sha256(bytes(32 * 256)).hexdigest()


GOLDEN = "a7fb9e4156ee100d2189b90ae7847fcedfa9a9b5f94529eb1818b8df0fce0fa7"


def test_a_golden_digest() -> None:
    """The format may not drift."""
    digest = SnapshotDigest()
    digest.put("flag", "checkout-v2", b'{"kind":"flag","key":"checkout-v2","def":{}}')
    digest.put("segment", "beta", b'{"kind":"segment","key":"beta","def":{}}')
    expected = by_definition(
        {
            ("flag", "checkout-v2"): b'{"kind":"flag","key":"checkout-v2","def":{}}',
            ("segment", "beta"): b'{"kind":"segment","key":"beta","def":{}}',
        }
    )
    assert digest.hexdigest() == expected == GOLDEN


def test_removing_what_is_not_there_changes_nothing() -> None:
    """Removals may be repeated."""
    digest = SnapshotDigest()
    before = digest.hexdigest()
    digest.remove("flag", "a")
    assert digest.hexdigest() == before


def test_a_key_without_utf8_can_be_hashed() -> None:
    """That it is not valid is found elsewhere."""
    digest = SnapshotDigest()
    digest.put("flag", "\ud800", b"x")
    assert digest.hexdigest() != SnapshotDigest().hexdigest()


def applied(digest: SnapshotDigest, changes: Any) -> None:
    """Apply changes to a digest."""
    for (kind, key), version in changes:
        if version is None:
            digest.remove(kind, key)
        else:
            digest.put(kind, key, f"{kind}/{key}/{version}".encode())


@settings(deadline=None)
@given(_changes, _changes, _changes, st.sampled_from([0, 3, 512]))
def test_a_copy_changes_apart(first: Any, here: Any, there: Any, recent: int) -> None:
    """Neither sees what becomes of the other, whatever they share, and both know their digest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest_module, "_MOST_RECENT", recent)
        _change_apart(first, here, there)


def _change_apart(first: Any, here: Any, there: Any) -> None:
    one = SnapshotDigest()
    applied(one, first)
    other = one.copy()
    applied(one, here)
    third = one.copy()
    applied(other, there)
    applied(third, there)
    histories = (
        (one, [*first, *here]),
        (other, [*first, *there]),
        (third, [*first, *here, *there]),
    )
    for digest, changes in histories:
        whole = SnapshotDigest()
        applied(whole, changes)
        assert digest.hexdigest() == whole.hexdigest()
        assert digest.copy().hexdigest() == whole.hexdigest()
