"""A machine of its own for a program: a network namespace, and a cable to this one.

Packets are lost on that cable alone, so nothing else on this machine notices. Needs root, iproute2
and iptables; without root a test is skipped with a counted line, and in CI, which is root, fails.

    lose(probability)  of each packet, both ways
    silence()          all of them: nobody is told
    mend()             none
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.tools import missing, require

__all__ = ["Machine", "machine"]

_HOW_MANY = 60  # networks of this process: 10.213.<of the process>.<4 for each>
_made = 0


class Machine:
    """`address` is its own, `here` this machine's as it sees it; `before` runs a command in it.

    `ports` are those of `here` that its programs connect to: what goes there and back is lost.
    """

    def __init__(self, name: str, here: str, address: str) -> None:
        self.name = name
        self.here = here
        self.address = address
        self.ports: list[int] = []
        self.before = ("ip", "netns", "exec", name)

    def lose(self, probability: float) -> None:
        """Lose such a share of the packets, both ways."""
        self._lose("-m", "statistic", "--mode", "random", "--probability", str(probability))

    def silence(self) -> None:
        """Lose all packets."""
        self._lose()

    def mend(self) -> None:
        """Lose none any more."""
        _run(*self.before, "iptables", "-F")

    def _lose(self, *which: str) -> None:
        # What the test asks the programs on it is not lost.
        ports = ",".join(map(str, self.ports))
        for chain, there in (("INPUT", "--sport"), ("OUTPUT", "--dport")):
            rule = ["-A", chain, "-p", "tcp", "-m", "multiport", there]
            _run(*self.before, "iptables", *rule, ports, *which, "-j", "DROP")


@contextmanager
def machine() -> Iterator[Machine]:
    """Make one, and take it away with its cable."""
    global _made
    for program in ("ip", "iptables"):
        require(program)
    if os.geteuid() != 0:
        missing("root, to make a network namespace")
    _made += 1
    name = f"mf{os.getpid()}x{_made}"
    network, first = f"10.213.{os.getpid() % 256}", _made % _HOW_MANY * 4
    made = Machine(name, f"{network}.{first + 1}", f"{network}.{first + 2}")
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "address", "add", f"{made.here}/30", "dev", name)
        _run("ip", "link", "set", name, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{made.address}/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            _run("ip", "-n", name, *command)
        yield made
    finally:
        _run("ip", "netns", "delete", name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
