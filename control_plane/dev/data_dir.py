"""The directory of `matrixflag dev`: who holds it, and what is remembered in it.

    lock                  held by the one `dev` that uses the directory, and by its server
    state.json    0600    keys, password and secret, kept over restarts
    dev.json      0600    addresses and credentials of what runs now; absent while nothing does
    server/               the embedded server's files; sidecar/ the sidecar's cache; *.log
    .gitignore            "*": the directory holds secrets and stands in a work tree

Knows nothing of processes and of HTTP. Files are replaced in one step, so that a reader meets a
whole one or none.
"""

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path

import msgspec

from control_plane.dev.errors import DevError

__all__ = ["ADMIN_EMAIL", "DataDir", "DevDocument", "DevState"]

ADMIN_EMAIL = "admin@localhost"
"""Of the first administrator, who is made when there are no users."""

_LOCK_TIMEOUT_S = 5.0
"""Long enough for the server of a `dev` that was killed to end and to let go of the lock."""


class DevState(msgspec.Struct):
    """What is remembered from one run to the next. Keys are empty until there is one.

    `secret_key` signs sessions; `admin_password` is the first administrator's, as it was made.
    """

    sidecar_key: str = ""
    service_key: str = ""
    sampled: bool = False
    secret_key: str = ""
    admin_password: str = ""

    def __repr__(self) -> str:
        return "DevState(...)"


class DevDocument(msgspec.Struct, frozen=True):
    """`dev.json`: all that a program needs to use what runs.

    `service_key` has the role admin in the project `default`.
    """

    control_plane_url: str
    metrics_url: str
    sidecar_url: str
    admin_url: str
    redis_url: str
    sidecar_key: str
    service_key: str
    admin_email: str
    admin_password: str
    pid: int

    def __repr__(self) -> str:
        return f"DevDocument(control_plane_url={self.control_plane_url!r}, ...)"


class DataDir:
    """A data directory that is ours alone between `open` and `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.document_path = self.path / "dev.json"
        self._state_path = self.path / "state.json"
        self._lock = -1

    @property
    def lock(self) -> int:
        """The file descriptor of the lock, for the server to inherit."""
        return self._lock

    def open(self) -> DevState:
        """Take the directory, made if absent, and return what is remembered in it.

        Raises:
            DevError: when another `dev` holds it, or it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DevError(
                f"the data directory {self.path} cannot be used: {error.strerror};"
                " choose another with --data-dir"
            ) from error
        try:
            self._take_lock()
            self.withdraw()
            gitignore = self.path / ".gitignore"
            if not gitignore.exists():
                gitignore.write_text("*\n")
            return self._read_state()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remember(self, state: DevState) -> None:
        """Keep the state for the next run."""
        self._replace(self._state_path, msgspec.json.encode(state))

    def announce(self, document: DevDocument) -> None:
        """Write `dev.json`: everything in it answers now."""
        self._replace(
            self.document_path, msgspec.json.format(msgspec.json.encode(document)) + b"\n"
        )

    def withdraw(self) -> None:
        """Remove `dev.json`."""
        with contextlib.suppress(FileNotFoundError):
            self.document_path.unlink()

    def _take_lock(self) -> None:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = self._holder()
                # The server of a holder that was killed is about to end; a living one stays.
                if _lives(holder) or time.monotonic() > deadline:
                    raise DevError(
                        f"another `matrixflag dev` (process {holder}) uses the data directory"
                        f" {self.path}; stop it, or choose another with --data-dir"
                    ) from None
                time.sleep(0.02)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _holder(self) -> int:
        """Return the process that says it holds the lock; 0 while it has not said so yet."""
        text = os.pread(self._lock, 32, 0).strip()
        return int(text) if text.isdigit() else 0

    def _read_state(self) -> DevState:
        """Return what was remembered; begin anew where that is absent or cannot be read."""
        state = DevState()
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeError):
            state = msgspec.json.decode(self._state_path.read_bytes(), type=DevState)
        state.secret_key = state.secret_key or secrets.token_urlsafe(32)
        state.admin_password = state.admin_password or secrets.token_urlsafe(16)
        return state

    def _replace(self, path: Path, content: bytes) -> None:
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)


def _lives(process: int) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(process, 0) if process else None
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != 0
