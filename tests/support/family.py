"""The processes below a process, and whether they are gone."""

import time

import psutil

__all__ = ["family", "gone"]


def family(pid: int) -> list[psutil.Process]:
    """Return a process and everything it started, directly or not."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def gone(processes: list[psutil.Process], timeout_s: float) -> bool:
    """Return whether all of these processes end in time.

    An orphan that nobody collects stays as a zombie, in containers without an init: that is gone.
    """
    deadline = time.monotonic() + timeout_s
    while any(_lives(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
