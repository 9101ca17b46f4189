"""How many files this process may have open: each connection is one."""

import resource

__all__ = ["connections_for"]

_OTHER_FILES = 500  # connections that are no streams, to Redis, of the metrics


def connections_for(wanted: int) -> int:
    """Return how many of the connections wanted this process may have open; at least one.

    The limit of this process is raised as far as it may be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - _OTHER_FILES))
