"""Sentinel and Cluster for tests: real servers on free ports of the loopback, ended by pid.

A `Group` starts what it is made of, waits until all of it is in step, and can kill, freeze and
restart any of its servers. What takes seconds in production is shortened: a master is taken for
dead after `DOWN_AFTER_S`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from tests.support.ports import free_port
from tests.support.redis import server_binary
from tests.support.tools import require

__all__ = ["DOWN_AFTER_S", "Cluster", "Node", "SentinelGroup", "free_ports", "wait_for"]

DOWN_AFTER_S = 1.0
_START_S = 30.0
_CLUSTER_BUS = 10_000  # a node's bus is on its port and this


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = _START_S) -> Any:
    """Return what a condition gives once it is true; servers announce nothing."""
    until = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if value := condition():
                return value
        if time.monotonic() > until:
            raise TimeoutError(what)
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, with those of the Cluster's bus, and differ."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = free_port()
            bus = held.enter_context(socket.socket())
            if port + _CLUSTER_BUS < 65_536:
                with contextlib.suppress(OSError):
                    bus.bind(("127.0.0.1", port + _CLUSTER_BUS))
                    found.append(port)
    return found


class Node:
    """One process: a server, or a Sentinel with its file."""

    def __init__(self, binary: str, port: int, directory: Path, *arguments: str) -> None:
        self.port = port
        self.directory = directory
        self._arguments = [binary, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **options: Any) -> None:
        """Start it, and return when it answers a client with these options."""
        self.begin()
        wait_for(lambda: self.client(**options).ping(), f"{self._arguments} does not answer")

    def begin(self) -> None:
        """Start it, and do not wait until it answers."""
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """Stop it answering while connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def client(self, **options: Any) -> redis.Redis:
        """Return a plain client of it."""
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            socket_timeout=5,
            socket_connect_timeout=1,
            retry=None,
            **options,
        )

    def info(self, section: str = "replication") -> dict[str, Any]:
        """Return what it says of itself."""
        with self.client() as client:
            answer: dict[str, Any] = client.info(section)
            return answer


class _Group:
    nodes: list[Node]

    def _server(
        self, kind: str, directory: Path, port: int, password: str, *arguments: str
    ) -> Node:
        place = directory / str(port)
        given = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(place)]
        given += ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]
        if password:
            given += ["--requirepass", password, "--masterauth", password]
        return _Protected(password, server_binary(kind), port, place, *given, *arguments)

    def node(self, port: int) -> Node:
        """Return the server on a port."""
        return next(node for node in self.nodes if node.port == port)

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()


class _Protected(Node):
    def __init__(self, password: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._password = password

    def client(self, **options: Any) -> redis.Redis:
        """Return a client that knows the password."""
        return super().client(**({"password": self._password or None} | options))


class SentinelGroup(_Group):
    """A master, two replicas and three Sentinels. A context manager."""

    def __init__(
        self, directory: Path, kind: str = "redis", password: str = "", *arguments: str
    ) -> None:
        ports = free_ports(6)
        self.servers = [
            self._server(kind, directory, port, password, *arguments) for port in ports[:3]
        ]
        self.sentinels = [
            Node(server_binary(kind), port, directory / str(port), str(directory / f"{port}.conf"),
                 "--sentinel")
            for port in ports[3:]
        ]  # fmt: skip
        self.nodes = [*self.servers, *self.sentinels]
        self._directory = directory
        self._password = password
        user = f":{password}@" if password else ""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        self.url = f"redis+sentinel://{user}{hosts}/flags/0"

    def __enter__(self) -> Self:
        first, *others = self.servers
        try:
            for node in self.servers:
                node.start()
            for node in others:
                with node.client() as client:
                    client.replicaof("127.0.0.1", first.port)
            for sentinel in self.sentinels:
                lines = [
                    f"port {sentinel.port}",
                    "bind 127.0.0.1",
                    f"dir {self._directory}",
                    f"sentinel monitor flags 127.0.0.1 {first.port} 2",
                    f"sentinel down-after-milliseconds flags {DOWN_AFTER_S * 1000:.0f}",
                    "sentinel failover-timeout flags 4000",
                ]
                if self._password:
                    lines.append(f"sentinel auth-pass flags {self._password}")
                (self._directory / f"{sentinel.port}.conf").write_text("\n".join(lines) + "\n")
                sentinel.start()
                with sentinel.client() as client:
                    # Otherwise it takes ten seconds to learn of replicas, two of other Sentinels.
                    client.execute_command(
                        "SENTINEL DEBUG", "INFO-PERIOD", "300", "PUBLISH-PERIOD", "300"
                    )
            self.wait_in_step()
        except BaseException:
            self.__exit__()
            raise
        return self

    def master(self) -> Node:
        """Return the master as the Sentinels name it."""
        return self.node(int(self._state()["port"]))

    def wait_in_step(self) -> None:
        """Return when every server follows the master and every Sentinel knows of all."""

        def ready() -> bool:
            master = self.master()
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    state = client.sentinel_master("flags", return_responses=True)
                if (state["num-slaves"], state["num-other-sentinels"]) != (2, 2):
                    return False
                if int(state["port"]) != master.port or state["is_sdown"]:
                    return False
            linked = [n.info().get("master_link_status") for n in self.servers if n is not master]
            lags = [
                v for k, v in master.info().items() if k.startswith("slave") and k[5:].isdigit()
            ]
            return linked == ["up", "up"] and [s["state"] for s in lags] == ["online"] * 2

        wait_for(ready, "the Sentinels do not agree")

    def wait_other_master(self, than: Node) -> Node:
        """Return the master when it is another one."""
        return wait_for(
            lambda: (now := self.master()) is not than and now.info()["role"] == "master" and now,
            "no fail-over",
        )

    def _state(self) -> dict[str, Any]:
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError), sentinel.client() as client:
                state: dict[str, Any] = client.sentinel_master("flags", return_responses=True)
                return state
        raise redis.ConnectionError("no Sentinel answers")


class Cluster(_Group):
    """Three masters with a replica each. A context manager."""

    def __init__(
        self, directory: Path, kind: str = "redis", password: str = "", *arguments: str
    ) -> None:
        of_cluster = (
            "--cluster-enabled", "yes",
            "--cluster-node-timeout", str(int(DOWN_AFTER_S * 1000)),
            "--cluster-replica-validity-factor", "0",
            *arguments,
        )  # fmt: skip
        self.nodes = [
            self._server(kind, directory, port, password, *of_cluster) for port in free_ports(6)
        ]
        self._password = password
        user = f":{password}@" if password else ""
        # Two of six: the others have to be found.
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        self.url = f"redis+cluster://{user}{hosts}"

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
            self.cli("--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
            self.wait_in_step()
        except BaseException:
            self.__exit__()
            raise
        return self

    def cli(self, *arguments: str) -> str:
        """Run redis-cli and return what it says."""
        words = [require("redis-cli"), "--no-auth-warning"]
        words += ["-a", self._password] if self._password else []
        done = subprocess.run(
            [*words, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait_in_step(self) -> None:
        """Return when each node sees three masters, all slots, and replicas that have caught up."""

        def ready() -> bool:
            for node in self.nodes:
                with node.client() as client:
                    state = client.execute_command("CLUSTER INFO")
                    slots = client.execute_command("CLUSTER SLOTS")
                text = state if isinstance(state, dict) else _fields(state)
                if text["cluster_state"] != "ok" or len({s[2][1] for s in slots}) != 3:
                    return False
                said = node.info()
                if said["role"] == "slave" and said["master_link_status"] != "up":
                    return False
            return sum(node.info()["role"] == "master" for node in self.nodes) == 3

        wait_for(ready, "the Cluster is not in step")

    def masters(self) -> list[Node]:
        """Return the nodes that are masters."""
        return [node for node in self.nodes if node.info()["role"] == "master"]

    def owner(self, key: str, but: Node | None = None) -> Node:
        """Return the node that has a key, as another one than `but` sees it."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node is but:
                continue
            with contextlib.suppress(redis.RedisError), node.client() as client:
                for row in client.execute_command("CLUSTER SLOTS"):
                    if row[0] <= slot <= row[1]:
                        return self.node(row[2][1])
        raise redis.ConnectionError("no node answers")

    def wait_other_owner(self, key: str, than: Node) -> Node:
        """Return the node that has a key when it is another one, which says so itself."""
        return wait_for(
            lambda: (
                (now := self.owner(key, than)) is not than
                and now.info()["role"] == "master"
                and now
            ),
            "no fail-over",
        )

    def first_slot(self, node: Node) -> int:
        """Return the first slot that a master has."""
        with node.client() as client:
            slots = client.execute_command("CLUSTER SLOTS")
        return min(row[0] for row in slots if row[2][1] == node.port)

    def reshard(self, source: Node, target: Node, slots: int) -> None:
        """Move the first slots of a master to another."""
        self.cli(
            "--cluster", "reshard", f"127.0.0.1:{target.port}",
            "--cluster-from", self.identity(source), "--cluster-to", self.identity(target),
            "--cluster-slots", str(slots), "--cluster-yes",
        )  # fmt: skip

    def open_slot(self, slot: int, source: Node, target: Node) -> None:
        """Begin to move a slot."""
        with target.client() as into, source.client() as out:
            into.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.identity(source))
            out.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.identity(target))

    def move_keys(self, slot: int, source: Node, target: Node, count: int) -> None:
        """Move some keys of a slot."""
        with source.client() as out:
            keys = out.execute_command("CLUSTER GETKEYSINSLOT", slot, count)
            if keys:
                to = ("127.0.0.1", target.port, "", 0, 5000)
                out.execute_command("MIGRATE", *to, "KEYS", *keys)

    def close_slot(self, slot: int, source: Node, target: Node) -> None:
        """End moving a slot."""
        for node in (target, source):
            with node.client() as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", self.identity(target))

    def identity(self, node: Node) -> str:
        """Return a node's id."""
        with node.client() as client:
            answer = client.execute_command("CLUSTER MYID")
            return answer if isinstance(answer, str) else answer.decode()

    def flush(self) -> None:
        """Empty it."""
        for node in self.masters():
            with node.client() as client:
                client.flushall()


def _fields(text: Any) -> dict[str, str]:
    lines = (text if isinstance(text, str) else text.decode()).split()
    return dict(line.split(":", 1) for line in lines)


@contextlib.contextmanager
def frozen(node: Node) -> Iterator[None]:
    """Keep a node from answering for a while."""
    node.freeze()
    try:
        yield
    finally:
        node.thaw()
