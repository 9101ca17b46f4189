"""What a sidecar says that it holds."""

import pytest

from control_plane.publishing.held import Held
from proxy.contract.sync import SnapshotPointer

CURRENT = SnapshotPointer("e", 7, "d" * 64)


def test_nothing_said_is_nothing_held() -> None:
    """A first start."""
    held = Held.read(None, None, None)
    assert held == Held()
    assert not held.is_current(CURRENT)


def test_an_id_names_epoch_and_revision() -> None:
    """As the stream's events carry it."""
    assert Held.read("pod", "e-7", None) == Held("pod", "e", 7, None)
    assert Held.read("pod", "e-7", None).is_current(CURRENT)
    assert not Held.read("pod", "e-6", None).is_current(CURRENT)
    assert not Held.read("pod", "f-7", None).is_current(CURRENT)


def test_a_digest_decides() -> None:
    """Equal content is current, whatever it was called; other content is not."""
    assert Held.read("pod", "other-1", "d" * 64).is_current(CURRENT)
    assert not Held.read("pod", "e-7", "0" * 64).is_current(CURRENT)


def test_nonsense_is_nothing_held() -> None:
    """Headers come from outside."""
    for text in ("", "-", "e-", "-7", "e-x", "e--7", "e-" + "9" * 400):
        assert not Held.read("x" * 10_000, text, None).is_current(CURRENT)
    assert len(Held.read("x" * 10_000, None, None).instance) == 128


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("2026-12-01T09:00:00.000Z", "2026-12-01T09:00:00.000Z"),
        ("2026-12-01T09:00:00Z", None),
        ("2026-12-01T09:00:00.000+01:00", None),
        ("9" * 500, None),
        ("", None),
        (None, None),
    ],
    ids=range(6),
)
def test_a_time_is_one_of_ours(said: str | None, read: str | None) -> None:
    """They are compared as text."""
    assert Held.read(None, "e-1", None, said).published == read
