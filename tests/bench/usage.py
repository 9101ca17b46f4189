"""What the operating system says of a process: CPU time, memory, the core it may use."""

import os
from collections.abc import Callable

import psutil

__all__ = ["cpu_s", "machine_busy_s", "own_cpu_s", "pin", "pin_next", "resident_mb"]


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used, in user and kernel mode (`/proc/<pid>/stat`)."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


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


def pin(pid: int, core: int) -> bool:
    """Keep a process on one core, where the system can and there are two; return whether."""
    if not _can_pin():
        return False
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {sorted(os.sched_getaffinity(0))[core]})
    return True


def pin_next(core: int) -> Callable[[], None] | None:
    """Return what a child runs before it starts, to be kept on one core; None where it cannot."""
    if not _can_pin():
        return None
    chosen = sorted(os.sched_getaffinity(0))[core]
    return lambda: os.sched_setaffinity(0, {chosen})


def _can_pin() -> bool:
    return hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) >= 2
