"""Runs an image as Kubernetes would under the restricted profile, without a container engine.

The image's files are mounted read-only in a private mount namespace, the program is the first
process of a process namespace of its own (so a missing signal handler shows), runs as the numeric
user of the image with no way to gain privileges, and sees nothing of the machine's environment.
The network is the machine's: tests use free ports of the loopback.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.ops.images import Storage

_STOP_S = 20.0
# $1 the image's files, then pairs of source and target, `--`, and the command
_ENTER = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
user=$1; shift
exec setpriv --no-new-privs chroot --userspec="$user" "$root" /usr/bin/env -i "$@"
"""


@dataclass(frozen=True)
class Box:
    """How to run an image: beyond its own configuration, what a pod's manifest would add."""

    image: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Path] = field(default_factory=dict)
    """Where in the box, and which directory or file of this machine. Given to the box's user."""
    entrypoint: Sequence[str] | None = None


def _command(storage: Storage, box: Box, files: Path) -> list[str]:
    config = storage.config(box.image)
    user = config["User"]
    uid, _, gid = user.partition(":")
    places: list[str] = []
    for target, source in box.volumes.items():
        inside = files / target.lstrip("/")
        if source.is_dir():
            inside.mkdir(parents=True, exist_ok=True)
        else:
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.touch()
        os.chown(source, int(uid), int(gid))
        places += [str(source), target]
    environment = [*config["Env"], *(f"{name}={value}" for name, value in box.environment.items())]
    program = box.entrypoint if box.entrypoint is not None else config["Entrypoint"]
    arguments = box.arguments or (config.get("Cmd") or [] if box.entrypoint is None else [])
    # die with this process, also when it is killed: first unshare, and its child with it
    enter = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]
    enter += ["--kill-child", "--propagation", "private", "sh", "-c", _ENTER, "sh", str(files)]
    return [*enter, *places, "--", user, *environment, *program, *arguments]


def run(storage: Storage, box: Box, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a box to its end."""
    with storage.mounted(box.image) as files:
        return subprocess.run(
            _command(storage, box, files),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )


@dataclass(frozen=True)
class Running:
    """A box that runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def inner(self) -> psutil.Process:
        """Return the box's first process, as this machine sees it."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def stop(self) -> int:
        """Ask it to end as the kubelet does, and return its exit status."""
        self.inner().send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_S)


@contextlib.contextmanager
def running(storage: Storage, box: Box, log: Path) -> Iterator[Running]:
    """Run a box until the context ends; its output goes to `log`."""
    with storage.mounted(box.image) as files, log.open("wb") as output:
        process = subprocess.Popen(
            _command(storage, box, files),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        box_running = Running(process, log)
        try:
            yield box_running
        finally:
            if process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
                    box_running.stop()
            process.kill()
            process.wait()
