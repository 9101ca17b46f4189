"""Binds what the sidecar listens on, and says which setting to change when it cannot.

Sockets are bound before anything else is started, all hosts on one port. It knows no protocol.
"""

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["CannotListen", "bind", "bind_unix", "connections_for", "urls"]

_BACKLOG = 1024  # connections that wait while the loop compiles a snapshot; Linux caps it anyway
_FREE_PORT_ATTEMPTS = 10
_OTHER_FILES = 200  # snapshot, cache, spool, admin port, control plane
_MAX_UNIX_PATH_BYTES = 103  # 107 on Linux, 103 on macOS
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how they are reached, not bound


class CannotListen(OSError):
    """An address that cannot be bound; the text names the setting."""


def bind(hosts: Iterable[str], port: int, flag: str) -> list[socket.socket]:
    """Return bound sockets for all hosts on one port, a free one for 0.

    `flag` begins the names of the settings: `--` or `--admin-`.

    Raises:
        CannotListen: naming address and setting. Nothing stays bound.
    """
    hosts = tuple(hosts)
    for attempt in range(_FREE_PORT_ATTEMPTS):
        try:
            return _bind_all(hosts, port, flag)
        except _PortTaken as taken:
            # A free port of the first host may be in use on the second: take another.
            if port or attempt == _FREE_PORT_ATTEMPTS - 1:
                raise CannotListen(f"{flag}port {taken.port}: {taken.host} {taken}") from None
    raise AssertionError("unreachable")  # pragma: no cover - the last attempt raises


def bind_unix(path: Path) -> socket.socket:
    """Return a socket bound to a path, mode 0660; what a killed process left there is replaced.

    Raises:
        CannotListen: when something else is there, or another process answers on it.
    """
    if len(os.fsencode(path)) > _MAX_UNIX_PATH_BYTES:
        raise CannotListen(f"--unix {path}: longer than {_MAX_UNIX_PATH_BYTES} bytes")
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise CannotListen(f"--unix {path}: is there and is no socket")
        if _answers(path):
            raise CannotListen(f"--unix {path}: another process listens on it")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    partial = path.with_name(path.name + ".new")
    try:
        partial.unlink(missing_ok=True)
        bound.bind(os.fspath(partial))
        partial.chmod(0o660)
        partial.replace(path)  # only now can it be connected to, with its mode
    except OSError as error:
        bound.close()
        raise CannotListen(f"--unix {path}: {error.strerror}") from None
    bound.listen(_BACKLOG)
    bound.setblocking(False)
    return bound


def urls(sockets: Sequence[socket.socket]) -> list[str]:
    """Return how the sockets can be reached from this machine."""
    found = []
    for bound in sockets:
        host, port = bound.getsockname()[:2]
        host = _WILDCARDS.get(host, host)
        found.append(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    return found


def connections_for(wanted: int) -> int:
    """Return how many of the connections wanted this process may have open; at least one.

    Each is a file. The limit of this process is raised as far as it may be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - _OTHER_FILES))


class _PortTaken(Exception):
    def __init__(self, host: str, port: int) -> None:
        super().__init__("is in use by another process")
        self.host = host
        self.port = port


def _bind_all(hosts: tuple[str, ...], port: int, flag: str) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for host in hosts:
            bound += _bind_host(host, port, flag)
            port = bound[0].getsockname()[1]
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _bind_host(host: str, port: int, flag: str) -> list[socket.socket]:
    """Return a socket for each address of a host; `localhost` may have two."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(f"{flag}host {host}: {error.strerror}") from None
    bound: list[socket.socket] = []
    problem: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            bound.append(_bind_address(family, kind, protocol, address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                for each in bound:
                    each.close()
                raise _PortTaken(host, port) from None
            problem = error  # no IPv6 here, say; the other address may do
        else:
            port = bound[0].getsockname()[1]
    if not bound and problem is not None:
        raise CannotListen(f"{flag}host {host}, {flag}port {port}: {problem.strerror}")
    return bound


def _bind_address(
    family: int, kind: int, protocol: int, address: tuple[object, ...], port: int
) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address[0], port, *address[2:]))
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True
