"""What the operating system says of a process and its children."""

import os
import subprocess
import sys

import pytest

from loadtests.usage import can_pin, cpu_s, pin_next, pinned

_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
_REAPED = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BURN!r}])\n"
_ALIVE = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {_BURN + 'print(flush=True); input()'!r}],"
    " stdout=subprocess.PIPE)\n"
    "child.stdout.readline()\n"
)


@pytest.mark.parametrize("program", [_REAPED, _ALIVE], ids=["ended", "alive"])
def test_the_time_of_children_counts(program: str) -> None:
    """Also of those that have ended: a server may give each request to another process."""
    command = [sys.executable, "-c", program + "print(flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used_s = cpu_s(process.pid)
        process.communicate(b"\n\n")
    assert used_s >= 0.3


def test_processes_are_pinned_for_a_while() -> None:
    """A user's server gets back the cores that it had."""
    if not can_pin():
        return  # there is one core, or no such system call: nothing is pinned
    cores = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pinned([process.pid], 0) as on_one:
            assert on_one
            assert os.sched_getaffinity(process.pid) == {min(cores)}
        assert os.sched_getaffinity(process.pid) == cores
        process.communicate(b"\n")


def test_a_child_is_born_on_its_core() -> None:
    """The generator is, or its first requests would steal the server's time."""
    if not can_pin():
        return
    command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    out = subprocess.run(
        command, preexec_fn=pin_next(1), capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == str({sorted(os.sched_getaffinity(0))[1]})
