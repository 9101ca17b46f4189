"""Programs end when the process that started them does, both ways of doing it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from control_plane.dev import leash
from tests.support.family import family, gone

WAYS = ["kernel", "keeper"] if sys.platform == "linux" else ["keeper"]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """How the leash is held."""
    return str(request.param)


@pytest.fixture
def parents() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to end after the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def parent_of(
    program: list[str], way: str, number: str, parents: list[subprocess.Popen[str]]
) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a parent and return it with all the processes below it, once they run."""
    command = [sys.executable, "-m", "tests.control_plane.dev.leashed", way, number, *program]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    parents.append(parent)
    assert parent.stdout is not None
    top = int(parent.stdout.readline())
    wanted = 1 if way == "kernel" else 2  # the keeper, and the program below it
    while len(below := family(top)) < wanted:
        time.sleep(0.01)
    return parent, below


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_a_program_ends_when_its_parent_is_killed(
    way: str, number: str, parents: list[subprocess.Popen[str]]
) -> None:
    """kill -9 lets the parent do nothing, and still nothing stays behind."""
    parent, below = parent_of(SLEEP, way, number, parents)
    parent.kill()
    assert gone(below, 5)


def test_a_program_that_does_not_listen_is_killed(
    way: str, parents: list[subprocess.Popen[str]]
) -> None:
    """With SIGKILL as the parting signal there is nothing to ignore."""
    parent, below = parent_of(DEAF, way, "SIGKILL", parents)
    parent.kill()
    assert gone(below, 5)


def test_ctrl_c_in_the_terminal_does_not_reach_programs(
    way: str, parents: list[subprocess.Popen[str]]
) -> None:
    """A terminal signals a whole process group; programs are in sessions of their own."""
    parent, below = parent_of(SLEEP, way, "SIGTERM", parents)
    assert all(os.getsid(process.pid) != os.getsid(parent.pid) for process in below)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_reaches_the_program(way: str, number: signal.Signals) -> None:
    """Stopping by a signal works the same whoever is in between."""
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(7))\n"
        "print('listening', flush=True)\n"
        "signal.pause()\n"
    )
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as output:
        process = await leash.start(
            [sys.executable, "-c", script],
            output=output,
            at_parting=signal.SIGKILL,
            by_kernel=way == "kernel",
        )
    with os.fdopen(reading, "rb") as said:
        assert await asyncio.to_thread(said.readline) == b"listening\n"
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 10) == 7


async def test_a_status_comes_through(way: str, tmp_path: Path) -> None:
    """What a program ended with is what is seen of it."""
    with (tmp_path / "log").open("wb") as output:
        process = await leash.start(
            [sys.executable, "-c", "raise SystemExit(3)"],
            output=output,
            at_parting=signal.SIGKILL,
            by_kernel=way == "kernel",
        )
    assert await asyncio.wait_for(process.wait(), 10) == 3


async def test_an_open_file_is_inherited(way: str, tmp_path: Path) -> None:
    """The server has to hold the lock of its directory itself."""
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        with (tmp_path / "log").open("wb") as output:
            process = await leash.start(
                [sys.executable, "-c", f"import os; os.write({descriptor}, b'mine')"],
                output=output,
                at_parting=signal.SIGKILL,
                keep_open=(descriptor,),
                by_kernel=way == "kernel",
            )
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        os.close(descriptor)
    assert (tmp_path / "lock").read_text() == "mine"


async def test_what_programs_write_is_for_their_user_alone(way: str, tmp_path: Path) -> None:
    """Snapshots and logs say what users were shown."""
    with (tmp_path / "log").open("wb") as output:
        process = await leash.start(
            [sys.executable, "-c", f"open({str(tmp_path / 'made')!r}, 'w')"],
            output=output,
            at_parting=signal.SIGKILL,
            by_kernel=way == "kernel",
        )
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
