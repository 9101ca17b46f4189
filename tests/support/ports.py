"""Ports for servers that have to know theirs before they start, or keep it over a restart.

They are taken from below those that the system gives to connections: a port of those that was free
a moment ago is another program's connection when many tests run at once.
"""

import os
import random
import socket

__all__ = ["free_port"]

_PORTS = range(10_000, 32_000)  # the system gives connections 32768 and up
_draw = random.Random(os.getpid())
_given: set[int] = set()


def free_port() -> int:
    """Return a port of the loopback that nobody listens on, another one each time."""
    while True:
        port = _draw.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
