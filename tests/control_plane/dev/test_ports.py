"""Ports are looked at before anything starts, and the answer names the flag."""

import socket
from collections.abc import Iterator

import pytest

from control_plane.dev.errors import DevError
from control_plane.dev.ports import check_ports
from control_plane.dev.settings import DevSettings


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


FREE = {"port": 0, "metrics_port": 0, "sidecar_port": 0, "admin_port": 0}


@pytest.mark.parametrize("name", FREE)
def test_a_busy_port_is_named_with_its_flag(name: str, busy: int) -> None:
    """Whoever reads it knows what to type."""
    flag = "--" + name.replace("_", "-")
    with pytest.raises(DevError, match=rf"port {busy} is in use: choose another with {flag} "):
        check_ports(DevSettings(**{**FREE, name: busy}))


def test_all_busy_ports_are_named(busy: int) -> None:
    """Not one per attempt."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(DevError, match=r"--port[^\0]*--admin-port"),
    ):
        check_ports(DevSettings(**{**FREE, "port": busy, "admin_port": other.getsockname()[1]}))


def test_port_0_is_always_free() -> None:
    """It stands for any."""
    check_ports(DevSettings(**FREE))


def test_a_port_whose_connections_just_ended_is_free() -> None:
    """Restarting at once must work: TIME_WAIT is not somebody listening."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps TIME_WAIT
    check_ports(DevSettings(**{**FREE, "port": port}))
