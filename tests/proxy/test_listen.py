"""Binding real sockets."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.listen import CannotListen, bind, bind_unix, urls


def close(sockets: list[socket.socket]) -> None:
    """Close them."""
    for each in sockets:
        each.close()


def test_port_0_takes_a_free_one() -> None:
    """And the URL says which."""
    sockets = bind(("127.0.0.1",), 0, "--")
    port = sockets[0].getsockname()[1]
    assert port > 0
    assert urls(sockets) == [f"http://127.0.0.1:{port}"]
    close(sockets)


def test_all_hosts_are_on_one_port() -> None:
    """Also when it was a free one."""
    sockets = bind(("127.0.0.1", "127.0.0.2", "127.0.0.3"), 0, "--")
    assert len({each.getsockname()[1] for each in sockets}) == 1
    assert len(sockets) == 3
    close(sockets)


def test_a_busy_port_names_the_setting_and_leaves_nothing_bound() -> None:
    """The person at the keyboard needs to know which flag to change."""
    holder = bind(("127.0.0.2",), 0, "--")
    port = holder[0].getsockname()[1]
    with pytest.raises(CannotListen, match=rf"--admin-port {port}.*127\.0\.0\.2.*in use"):
        bind(("127.0.0.1", "127.0.0.2"), port, "--admin-")
    close(bind(("127.0.0.1",), port, "--"))
    close(holder)


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_names_the_setting(host: str) -> None:
    """A name that does not resolve, an address of another machine."""
    with pytest.raises(CannotListen, match=f"--host {host}"):
        bind((host,), 0, "--")


def test_localhost_is_bound_wherever_it_points() -> None:
    """To both families, or to the one there is."""
    sockets = bind(("localhost",), 0, "--")
    assert "127.0.0.1" in {each.getsockname()[0] for each in sockets}
    assert len({each.getsockname()[1] for each in sockets}) == 1
    close(sockets)


def test_wildcards_are_told_as_they_can_be_reached() -> None:
    """Nobody can connect to 0.0.0.0 everywhere."""
    sockets = bind(("0.0.0.0",), 0, "--")
    assert urls(sockets)[0].startswith("http://127.0.0.1:")
    close(sockets)


def test_a_unix_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    """From the moment that its name is there."""
    path = tmp_path / "s"
    bound = bind_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    bound.close()


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    """A socket file stays when its process dies."""
    path = tmp_path / "s"
    bind_unix(path).close()
    bound = bind_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    bound.close()


def test_a_unix_socket_in_use_is_not_stolen(tmp_path: Path) -> None:
    """The other process would go on, unreachable."""
    path = tmp_path / "s"
    bound = bind_unix(path)
    with pytest.raises(CannotListen, match="another process listens"):
        bind_unix(path)
    bound.close()


def test_a_file_is_not_replaced_by_a_socket(tmp_path: Path) -> None:
    """A mistyped path must not cost a file."""
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(CannotListen, match="is no socket"):
        bind_unix(path)
    assert path.read_text() == "precious"


def test_a_unix_path_that_cannot_be_is_told(tmp_path: Path) -> None:
    """Too long, or nowhere."""
    with pytest.raises(CannotListen, match="longer than"):
        bind_unix(tmp_path / ("x" * 120))
    with pytest.raises(CannotListen, match="--unix"):
        bind_unix(Path("/nowhere/s"))


@pytest.mark.parametrize(
    ("soft", "hard", "possible"), [(256, 20_000, 10_000), (256, 1_000, 800), (64, 64, 1)]
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(
    soft: int, hard: int, possible: int
) -> None:
    """What is not possible even then is not promised."""
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from proxy.listen import connections_for
print(connections_for(10_000), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(possible), str(min(hard, 10_200)), str(hard)]
