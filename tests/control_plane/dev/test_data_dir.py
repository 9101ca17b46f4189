"""The data directory: one holder, secrets kept private, a document there while it is true."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.dev.data_dir import DataDir, DevDocument, DevState
from control_plane.dev.errors import DevError

DOCUMENT = DevDocument(
    control_plane_url="http://127.0.0.1:1",
    metrics_url="http://127.0.0.1:2",
    sidecar_url="http://127.0.0.1:3",
    admin_url="http://127.0.0.1:4",
    redis_url="unix:///s",
    sidecar_key="mf_sidecar_secret",
    service_key="mf_service_secret",
    admin_email="admin@localhost",
    admin_password="password-secret",
    pid=1,
)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDir]:
    """A directory that is not there yet."""
    directory = DataDir(tmp_path / "new" / "data")
    yield directory
    directory.close()


def test_the_state_is_kept(data: DataDir) -> None:
    """The next run has the same keys."""
    state = data.open()
    state.sidecar_key, state.service_key = "mf_sidecar_x", "mf_service_x"
    data.remember(state)
    data.close()
    assert data.open() == state


def test_a_secret_is_made_once_and_is_long(data: DataDir) -> None:
    """256 bits; another directory has another."""
    secret = data.open().secret_key
    assert len(secret) >= 43
    assert DataDir(data.path.with_name("other")).open().secret_key != secret


def test_a_state_of_an_older_version_is_read(data: DataDir) -> None:
    """It has a token that is no use any more, and no service key yet."""
    data.open()
    old = {"admin_token": "t", "sidecar_key": "mf_sidecar_x", "sampled": True, "secret_key": "s"}
    (data.path / "state.json").write_text(json.dumps(old))
    data.close()
    state = data.open()
    assert (state.sidecar_key, state.service_key, state.sampled) == ("mf_sidecar_x", "", True)
    assert state.secret_key == "s"
    data.remember(state)
    assert "admin_token" not in (data.path / "state.json").read_text()


@pytest.mark.parametrize("content", [b"", b"{", b'{"sidecar_key":1}', b"\xff"])
def test_a_state_that_cannot_be_read_is_begun_anew(data: DataDir, content: bytes) -> None:
    """A torn file does not stop a start."""
    data.open()
    (data.path / "state.json").write_bytes(content)
    data.close()
    assert data.open().sidecar_key == ""


def test_secrets_are_for_their_user_alone(data: DataDir) -> None:
    """Both files have mode 0600, whatever the umask, and so after being replaced."""
    before = os.umask(0)
    try:
        state = data.open()
        for _ in range(2):
            data.remember(state)
            data.announce(DOCUMENT)
    finally:
        os.umask(before)
    for name in ("state.json", "dev.json"):
        assert (data.path / name).stat().st_mode & 0o777 == 0o600
    assert data.path.stat().st_mode & 0o777 == 0o700


def test_the_document_is_there_while_it_is_true(data: DataDir) -> None:
    """Who waits for it meets addresses that answer; a killed run's is removed by the next."""
    data.open()
    data.announce(DOCUMENT)
    assert json.loads(data.document_path.read_text())["sidecar_key"] == "mf_sidecar_secret"
    data.close()
    data.open()
    assert not data.document_path.exists()


def test_a_second_holder_is_told_who_is_first(data: DataDir) -> None:
    """Two servers on the same files would destroy them."""
    data.open()
    with pytest.raises(DevError, match=rf"process {os.getpid()}\).*--data-dir"):
        DataDir(data.path).open()


def test_the_lock_of_a_dead_holder_is_waited_for(data: DataDir) -> None:
    """A server that a killed run left ends by itself; until then its lock is inherited."""
    script = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from control_plane.dev.data_dir import DataDir\n"
        f"data = DataDir(Path({str(data.path)!r})); data.open()\n"
        "subprocess.Popen(['sleep', '0.3'], pass_fds=(data.lock,))\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    data.open()


def test_a_lock_that_is_never_let_go_is_reported(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a dead holder has an end."""
    monkeypatch.setattr("control_plane.dev.data_dir._LOCK_TIMEOUT_S", 0.05)
    monkeypatch.setattr("control_plane.dev.data_dir._lives", lambda _process: False)
    data.open()
    with pytest.raises(DevError, match="another `matrixflag dev`"):
        DataDir(data.path).open()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file in its place, for one."""
    (tmp_path / "file").touch()
    with pytest.raises(DevError, match=r"file/data cannot be used: .*--data-dir"):
        DataDir(tmp_path / "file" / "data").open()


def test_git_does_not_see_it(data: DataDir) -> None:
    """It holds secrets and lies in people's work trees."""
    data.open()
    assert (data.path / ".gitignore").read_text() == "*\n"


def test_secrets_are_not_in_a_repr() -> None:
    """Logs and tracebacks show reprs."""
    shown = repr(DevState("mf_sidecar_secret", "mf_service_secret")) + repr(DOCUMENT)
    assert "secret" not in shown
