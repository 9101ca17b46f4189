"""What the operating system says of a process: CPU time, memory, the core it may use."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil

__all__ = [
    "can_pin",
    "cpu_s",
    "machine_busy_s",
    "own_cpu_s",
    "pin_next",
    "pinned",
    "resident_mb",
]


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used, in user and kernel mode.

    Those of children that have ended are in their parent's `/proc/<pid>/stat` once it waited for
    them.
    """
    return sum(_times_s(process) for process in _tree(pid))


def _times_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # a child that has just ended: its parent tells of it
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def own_cpu_s() -> float:
    """Return the CPU seconds of this process and of all its children that have ended."""
    own = psutil.Process().cpu_times()
    return float(own.user + own.system + own.children_user + own.children_system)


def machine_busy_s() -> float:
    """Return the CPU seconds that all programs of the machine used since it started, all cores."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB of a million bytes."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


@contextmanager
def pinned(pids: Iterable[int], core: int) -> Iterator[bool]:
    """Keep processes and their children on one core for a while; yield whether that was possible.

    It is where there are two cores, and the processes are this user's.
    """
    before: dict[int, set[int]] = {}
    try:
        yield can_pin() and all(_pin(pid, core, before) for pid in pids)
    finally:
        for thread, cores in before.items():
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(thread, cores)


def _pin(pid: int, core: int, before: dict[int, set[int]]) -> bool:
    """Pin a tree of processes, and add to `before` where their threads were."""
    chosen = {sorted(os.sched_getaffinity(0))[core]}
    try:
        for process in _tree(pid):
            for thread in process.threads():
                with suppress(ProcessLookupError):
                    cores = os.sched_getaffinity(thread.id)
                    os.sched_setaffinity(thread.id, chosen)
                    before[thread.id] = cores
    except (PermissionError, psutil.AccessDenied):
        return False
    return True


def pin_next(core: int) -> Callable[[], None] | None:
    """Return what a child runs before it starts, to be kept on one core; None where it cannot."""
    if not can_pin():
        return None
    chosen = sorted(os.sched_getaffinity(0))[core]
    return lambda: os.sched_setaffinity(0, {chosen})


def can_pin() -> bool:
    """Return whether this system can keep a process on a core, and there are two."""
    return hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) >= 2
