"""Runs programs that end when this process ends, however it ends: also by `kill -9`.

Linux has this in the kernel: PR_SET_PDEATHSIG sends a child a signal at its parent's death. Where
it is missing (macOS) this file is run as a small program between the two. It holds the reading end
of a pipe whose only writing end is ours; the kernel closes that end at our death, whatever killed
us, and the keeper then ends the program.

Rules:
- Programs get a session of their own, so that Ctrl-C in a terminal reaches us alone and we decide
  the order in which things stop.
- `start` is called from the main thread: PR_SET_PDEATHSIG is bound to the thread that forks.
- Run as a program this file sees only the standard library, nothing of the project.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["start"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_KEEPER_GRACE_S = 5.0
"""What the keeper leaves a program between the parting signal and SIGKILL."""

_PRIVATE = 0o077
"""What programs write holds secrets, or what users were shown."""

_KERNEL_CAN = sys.platform == "linux"


async def start(
    program: Sequence[str | Path],
    *,
    output: IO[bytes],
    at_parting: signal.Signals,
    environment: Mapping[str, str] | None = None,
    keep_open: Sequence[int] = (),
    by_kernel: bool = _KERNEL_CAN,
) -> asyncio.subprocess.Process:
    """Start a program on a leash and return it.

    `at_parting` is what it is sent when we die: SIGKILL for what keeps no state, SIGTERM for what
    has children of its own to end. `keep_open` are file descriptors it inherits. `environment` is
    the whole of its environment; ours when absent.
    """
    if by_kernel:
        return await asyncio.create_subprocess_exec(
            *program,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=keep_open,
            start_new_session=True,
            umask=_PRIVATE,
            preexec_fn=_bind_to_parent(at_parting),
        )
    reading, writing = os.pipe()
    try:
        keeper = (sys.executable, "-I", "-S", __file__, str(reading), str(at_parting.value))
        process = await asyncio.create_subprocess_exec(
            *keeper,
            *program,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(reading, *keep_open),
            start_new_session=True,
            umask=_PRIVATE,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    # `writing` stays open for as long as we live; there is nobody else who could close it.
    return process


def _bind_to_parent(at_parting: signal.Signals) -> Callable[[], None]:
    """Return what the forked child runs before it becomes the program."""
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: little is safe to do after it
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, at_parting.value)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return bind


def _keep(pipe: int, at_parting: int, program: Sequence[str]) -> int:
    """Run the program until it ends or the other end of the pipe is closed; return its status."""
    os.set_inheritable(pipe, False)
    child = subprocess.Popen(program, close_fds=False)  # noqa: S603 - what our parent asked for

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)

    def watch() -> None:
        os.read(pipe, 1)  # nobody writes: this returns when the parent is gone
        child.send_signal(at_parting)
        try:
            child.wait(_KEEPER_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(_keep(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
