"""Whom Sentinels are believed, and what TLS and their own passwords take."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from control_plane.store.connection import Connections, RedisError, RedisLimits
from tests.support.api import running_api, until
from tests.support.redis import server_binary
from tests.support.reference import DOCS, between
from tests.support.tools import require
from tests.support.topologies import Node, free_ports

LIMITS = RedisLimits(connect_s=0.5, command_s=2.0, retries=1)


@contextmanager
def nodes(directory: Path, *files: str) -> Iterator[list[Node]]:
    """Run servers, and Sentinels where a file says `sentinel`, with these files.

    `{0}`, `{1}`, ... in a file are the ports of all.
    """
    ports = free_ports(len(files))
    with ExitStack() as stack:
        made = []
        for port, text in zip(ports, files, strict=True):
            place = directory / str(port)
            place.mkdir()
            file = place / "conf"
            file.write_text(f'bind 127.0.0.1\ndir {place}\nsave ""\n' + text.format(*ports))
            mode = ["--sentinel"] if "sentinel monitor" in text else []
            node = Node(server_binary("redis"), port, place, str(file), *mode)
            stack.callback(node.kill)
            made.append(node)
        yield made


async def test_the_highest_configuration_epoch_is_believed(tmp_path: Path) -> None:
    """A Sentinel that was cut off names who was the master before."""
    monitor = "port {%d}\nsentinel monitor flags 127.0.0.1 {%d} 2\nsentinel config-epoch flags %d\n"
    files = (
        "port {0}\n",
        "port {1}\n",
        monitor % (2, 0, 3),
        monitor % (3, 1, 7),
        monitor % (4, 0, 3),
    )
    with nodes(tmp_path, *files) as made:
        for node in made:
            node.start()
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in made[2:])
        connections = Connections(f"redis+sentinel://{hosts}/flags", LIMITS)
        await connections.run("set", lambda: connections.commands.set("a", 1))
        assert connections.servers.masters == (("127.0.0.1", made[1].port),)
        await connections.close()
        connections = Connections(f"redis+sentinel://{hosts}/flaggs", LIMITS)
        with pytest.raises(RedisError, match="no Sentinel names the master 'flaggs'"):
            await connections.run("ping", connections.commands.ping)
        await connections.close()


async def test_sentinels_take_what_the_guide_says(tmp_path: Path) -> None:
    """Line by line."""
    found = between("sentinel").search((DOCS / "redis.md").read_text())
    assert found is not None
    lines = "\n".join(found[2].splitlines()[1:-1]).replace("REDIS_HOST 6379", "127.0.0.1 {0}")
    with nodes(tmp_path, "port {0}\n", "port {1}\n" + lines + "\n") as (server, sentinel):
        server.start()
        sentinel.start()
        connections = Connections(f"redis+sentinel://127.0.0.1:{sentinel.port}/flags", LIMITS)
        assert await connections.run("ping", connections.commands.ping)
        await connections.close()


async def test_sentinels_have_credentials_of_their_own(tmp_path: Path) -> None:
    """Those of the servers are not sent to them."""
    files = (
        "port {0}\nrequirepass of-servers\n",
        "port {1}\nrequirepass of-sentinels\nsentinel monitor flags 127.0.0.1 {0} 1\n"
        "sentinel auth-pass flags of-servers\n",
    )
    with nodes(tmp_path, *files) as (server, sentinel):
        server.start(password="of-servers")
        sentinel.start(password="of-sentinels")
        url = f"redis+sentinel://:of-servers@127.0.0.1:{sentinel.port}/flags"
        connections = Connections(url + "?sentinel_password=of-sentinels", LIMITS)
        assert await connections.run("ping", connections.commands.ping)
        await connections.close()
        for wrong in ("", "?sentinel_password=hunter2"):
            connections = Connections(url + wrong, LIMITS)
            with pytest.raises(RedisError, match=r"(?i)auth|password") as caught:
                await connections.run("ping", connections.commands.ping)
            assert "hunter2" not in str(caught.value)
            assert "of-servers" not in str(caught.value)
            await connections.close()


async def test_tls_is_spoken_to_all(tmp_path: Path) -> None:
    """To Sentinels and to servers, with a certificate that is checked."""
    certificate(tmp_path)
    tls = (
        f"port 0\ntls-cert-file {tmp_path}/cert.pem\ntls-key-file {tmp_path}/key.pem\n"
        f"tls-ca-cert-file {tmp_path}/cert.pem\ntls-auth-clients no\ntls-replication yes\n"
    )
    files = (
        tls + "tls-port {0}\n",
        tls + "tls-port {1}\nsentinel monitor flags 127.0.0.1 {0} 1\n",
        tls + "tls-port {2}\ncluster-enabled yes\ntls-cluster yes\n",
    )
    trusted = {"ssl": True, "ssl_ca_certs": str(tmp_path / "cert.pem")}
    with nodes(tmp_path, *files) as made:
        for node in made:
            node.start(**trusted)
        server, sentinel, member = made
        with member.client(**trusted) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        trust = f"?ssl_ca_certs={tmp_path}/cert.pem"
        for url in (
            f"rediss://127.0.0.1:{server.port}",
            f"rediss+sentinel://127.0.0.1:{sentinel.port}/flags",
            f"rediss+cluster://127.0.0.1:{member.port}",
        ):
            connections = Connections(url + trust, RedisLimits(command_s=5.0, retries=20))
            assert await connections.run("set", lambda c=connections: c.commands.set("a", 1))
            await connections.close()
            connections = Connections(url, LIMITS)
            with pytest.raises(RedisError, match=r"(?i)certificate|ssl"):
                await connections.run("ping", connections.commands.ping)
            await connections.close()


def certificate(directory: Path) -> None:
    """Make a certificate of 127.0.0.1 that signs itself, and its key."""
    subprocess.run(
        [
            require("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2",
            "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", directory / "key.pem", "-out", directory / "cert.pem",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


async def test_a_server_that_loads_its_data_is_waited_for(tmp_path: Path) -> None:
    """It answers, and that it is not ready: 503 in bounded time, and then it goes on by itself."""
    slow = (
        "port {0}\nappendonly yes\n"
        "key-load-delay 4000\nloading-process-events-interval-bytes 1024\n"
    )
    with nodes(tmp_path, slow) as (server,):
        server.start()
        async with running_api(f"redis://127.0.0.1:{server.port}", redis_timeout_s=0.5) as api:
            with server.client() as client:
                for number in range(500):
                    client.set(f"k{number}", "x" * 1000)
            server.kill()
            # It listens before it has read its file.
            server.begin()
            answers = set()

            async def written() -> bool:
                reply = await api.ask(
                    "POST",
                    "/api/v1/flags",
                    json={"key": "a", "type": "boolean", "value": True, "enabled": True},
                )
                answers.add(reply.status)
                return reply.status == 201

            await until(written)
            assert answers == {503, 201}
