"""Files are whole or not there, and what others put there is read with care."""

import os
import stat
from pathlib import Path

import pytest

from proxy.sync.files import alone, read_file, remove_stale, replace_file, sync_directory


def test_a_file_is_put_in_place_of_another(tmp_path: Path) -> None:
    """Readable by its owner alone, and nothing is left beside it."""
    path = tmp_path / "file"
    replace_file(path, b"one")
    replace_file(path, b"t", b"wo")
    sync_directory(tmp_path)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk."""
    path = tmp_path / "file"
    replace_file(path, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """What it led to is somebody else's."""
    other, path = tmp_path / "other", tmp_path / "file"
    other.write_bytes(b"theirs")
    path.symlink_to(other)
    assert read_file(path, 100) == b""
    replace_file(path, b"ours")
    assert (other.read_bytes(), read_file(path, 100)) == (b"theirs", b"ours")


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    """A pipe without a writer does not hang, either."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    for name in ("none", "pipe", ".", "large", "\0"):
        assert read_file(tmp_path / name, 10) == b""
    assert read_file(tmp_path / "large", 10, whole=False) == b"x" * 10


def test_two_are_not_in_a_directory_at_once(tmp_path: Path) -> None:
    """The second is told so and does not wait; afterwards it may."""
    other = tmp_path / "other"
    other.mkdir()
    with alone(tmp_path):
        with pytest.raises(OSError, match="another process is writing there"), alone(tmp_path):
            pass
        with alone(other):
            pass
    with alone(tmp_path):
        pass


def test_what_killed_writers_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    """A younger one may be being written, and other files are not looked at."""
    names = (".a.x.tmp", ".b.y.tmp", "c.tmp", ".d")
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    for name in (".a.x.tmp", "c.tmp", ".d"):
        os.utime(tmp_path / name, (1, 1))
    remove_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".b.y.tmp", "c.tmp", ".d"}
    remove_stale(tmp_path / "none")
