"""Measures servers of flags against each other, in one run, with the same flags and contexts.

    python -m loadtests.compare --target NAME=URL[,pid=N] ... --scenario single

The servers take turns under the same load, round by round, because times of one run on one machine
say as much of the machine as of the server. The ratio between them is what counts: of each round
the first target's figure divided by the other's, and of those the median; it is printed last.

Before, each server must have answered rightly. During the load answers of another status are
counted, and the exit status is 1 if there were any; it is 2 for what cannot be measured at all.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from loadtests.addresses import read_address
from loadtests.apis import APIS
from loadtests.asking import Asked, Server, WrongAnswer, control_targets, prepare
from loadtests.controls import CONTROLS
from loadtests.formats import FORMATS
from loadtests.load import (
    CONNECTIONS,
    GENERATORS,
    SERVER_CORE,
    Load,
    LoadFailed,
    Target,
    default_generator,
)
from loadtests.scenarios import SCENARIOS, Context, FlagSet, Scenario
from loadtests.turns import Figures, ratio, take_turns
from loadtests.usage import pinned
from tests.support.processes import NotStarted, running_sidecar

__all__ = ["main"]


class _Unusable(Exception):
    """What was asked for cannot be measured; the text is for the user, on one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and return the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        _check(arguments)
        return _compare(arguments)
    except (_Unusable, WrongAnswer, LoadFailed, NotStarted) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare",
        description="Measure servers of flags against each other.",
        epilog="scenarios:\n" + "\n".join(f"  {s.name:18}{s.what}" for s in SCENARIOS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME=URL[,pid=N][,api=API][,key=KEY]",
        help="a server that runs with the scenario's flags (`python -m loadtests.flags`);"
        " http://HOST:PORT or unix:/PATH; pid: to know its CPU time and to keep it on a core;"
        f" api: {', '.join(APIS)} [ofrep]; key: of access. The first one is compared with the"
        " others",
    )
    parser.add_argument("--sidecar", action="store_true", help="start one, as the first target")
    parser.add_argument(
        "--control",
        action="store_true",
        help="start, as the last targets, a protocol that answers a constant and a bare handler of"
        " aiohttp",
    )
    parser.add_argument("--scenario", default="single", help="what is asked for [single]")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help=f"[{CONNECTIONS}]")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn [10]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each target [3]")
    parser.add_argument("--contexts", type=int, help="how many different ones [the scenario's]")
    parser.add_argument(
        "--generator", choices=GENERATORS, help="[wrk, if it is on PATH and no target is a socket]"
    )
    parser.add_argument("--no-pin", action="store_true", help="leave servers on all cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all turns there, too")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    """Fill in what was left open; raises _Unusable for what does not go together."""
    if arguments.scenario not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise _Unusable(f"--scenario {arguments.scenario}: there is none; there are {known}")
    for name, least, most in (
        ("connections", 1, 10_000),
        ("seconds", 0.1, 3_600),
        ("rounds", 1, 1_000),
        ("contexts", 1, 1_000_000),
    ):
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:
            raise _Unusable(f"--{name} {value:g}: from {least:g} to {most:,}")
    arguments.servers = [_read_target(text) for text in arguments.target]
    if not arguments.servers and not arguments.sidecar:
        raise _Unusable("nothing to measure: --target NAME=URL, or --sidecar")
    own = [*(["sidecar"] if arguments.sidecar else []), *(CONTROLS if arguments.control else [])]
    names = [*(server.name for server in arguments.servers), *own]
    if twice := {name for name in names if names.count(name) > 1}:
        raise _Unusable(f"two targets are named {min(twice)}")
    sockets = [server.name for server in arguments.servers if server.address.unix]
    if arguments.generator is None:
        arguments.generator = "python" if sockets else default_generator()
    if arguments.generator == "wrk":
        if not shutil.which("wrk"):
            raise _Unusable("--generator wrk: wrk is not on PATH (Debian: apt install wrk)")
        if sockets:
            raise _Unusable(f"{sockets[0]}: wrk knows no Unix sockets; use --generator python")
        if arguments.seconds != int(arguments.seconds):
            raise _Unusable(f"--seconds {arguments.seconds:g}: wrk knows whole seconds only")
    if arguments.json is not None and not arguments.json.absolute().parent.is_dir():
        raise _Unusable(f"--json {arguments.json}: there is no such directory")


def _read_target(text: str) -> Server:
    name, equals, rest = text.partition("=")
    url, *words = rest.split(",")
    if not equals or not name or not url:
        raise _Unusable(f"--target {text}: not NAME=URL")
    try:
        address = read_address(url)
    except ValueError as error:
        raise _Unusable(f"--target {name}: {error}") from None
    options = dict(word.partition("=")[::2] for word in words)
    if unknown := options.keys() - {"pid", "api", "key"}:
        raise _Unusable(f"--target {name}: {min(unknown)!r} is none of pid, api, key")
    api = options.get("api", "ofrep")
    if api not in APIS:
        raise _Unusable(f"--target {name}: api={api} is none of {', '.join(APIS)}")
    pid = _read_pid(name, options["pid"]) if "pid" in options else None
    return Server(name, address, api, pid, options.get("key"))


def _read_pid(name: str, text: str) -> int:
    if not text.isdecimal() or not psutil.pid_exists(int(text)):
        raise _Unusable(f"--target {name}: pid={text}: there is no such process")
    return int(text)


def _compare(arguments: argparse.Namespace) -> int:
    scenario = SCENARIOS[arguments.scenario]
    flags = scenario.flags()
    contexts = scenario.contexts(arguments.contexts or scenario.count)
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="matrixflag-compare-"))
        targets = list(_targets(stack, Path(name), arguments, scenario, flags, contexts))
        pids = [target.pid for target in targets if target.pid is not None]
        pins = not arguments.no_pin and len(pids) == len(targets)
        on_one = pins and stack.enter_context(pinned(pids, SERVER_CORE))
        print(f"{scenario.name}: {scenario.what}")
        print(
            f"{arguments.generator}, {arguments.connections} connections,"
            f" rounds: {arguments.rounds} of {arguments.seconds:g} s, {len(contexts):,} contexts,"
            f" servers {'on one core' if on_one else 'not pinned'}\n",
            flush=True,
        )
        turns = take_turns(
            targets,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            connections=arguments.connections,
            generator=arguments.generator,
        )
    evaluated = 0 if scenario.not_modified or scenario.single else len(flags.flags)
    figures = {name: Figures.of(loads) for name, loads in turns.items()}
    ratios = _ratios(turns)
    if arguments.json is not None:
        how = {
            "scenario": scenario.name,
            "flags": len(flags.flags),
            "contexts": len(contexts),
            "generator": arguments.generator,
            "connections": arguments.connections,
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "pinned": on_one,
            "machine": {"python": platform.python_version(), "cores": os.cpu_count()},
        }
        found = [_found(target, turns[target.name], evaluated) for target in targets]
        document = {**how, "targets": found, "ratios": ratios}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    print(_table(figures, evaluated))
    for row in ratios:
        print(_ratio_line(row))
    wrong = {name: one.wrong for name, one in figures.items() if one.wrong}
    for name, count in wrong.items():
        status = 304 if scenario.not_modified else 200
        print(f"compare: {name}: {count} answers were no {status}, or none", file=sys.stderr)
    return 1 if wrong else 0


def _found(target: Target, turns: Sequence[Load], evaluated: int) -> dict[str, Any]:
    """Return what the file says of a target."""
    figures = Figures.of(turns)
    return {
        "name": target.name,
        "url": target.address.url,
        **asdict(figures),
        **_evaluations(figures, evaluated),
        "turns": [{**asdict(load), "per_s": load.per_s} for load in turns],
    }


def _targets(
    stack: ExitStack,
    directory: Path,
    arguments: argparse.Namespace,
    scenario: Scenario,
    flags: FlagSet,
    contexts: Sequence[Context],
) -> Iterator[Target]:
    """Yield the targets in their order, starting those that are ours."""
    servers: list[Server] = []
    if arguments.sidecar:
        file = directory / "flags.json"
        file.write_text(json.dumps(FORMATS["native"](flags)))
        sidecar = stack.enter_context(running_sidecar(directory, "--snapshot", file))
        servers.append(Server("sidecar", read_address(sidecar.ofrep), pid=sidecar.pid))
    servers += arguments.servers
    first: Asked | None = None
    for server in servers:
        target, answer = prepare(server, scenario, flags, contexts, directory)
        first = first or answer
        yield target
    if arguments.control:
        assert first is not None
        yield from stack.enter_context(control_targets(first, scenario, flags, contexts, directory))


def _evaluations(figures: Figures, evaluated: int) -> dict[str, float | None]:
    """Return how many flags are evaluated in a second, and in a second of CPU."""
    per_cpu_s = evaluated / figures.cpu_us * 1e6 if figures.cpu_us else None
    return {
        "evaluations_per_s": figures.per_s * evaluated or None,
        "evaluations_per_cpu_s": per_cpu_s or None,
    }


_OF: dict[str, Callable[[Load], float | None]] = {
    "per_s": lambda load: load.per_s,
    "p50_us": lambda load: load.p50_us,
    "p99_us": lambda load: load.p99_us,
    "cpu_us": lambda load: load.cpu_us,
}


def _ratios(turns: dict[str, list[Load]]) -> list[dict[str, Any]]:
    """Return of each target but the first how the first compares with it."""
    (name, first), *others = turns.items()
    return [
        {"of": name, "to": other, **{what: ratio(first, loads, of) for what, of in _OF.items()}}
        for other, loads in others
    ]


def _ratio_line(row: dict[str, Any]) -> str:
    words = [
        ("requests/s", row["per_s"]),
        ("CPU per request", row["cpu_us"]),
        ("p50", row["p50_us"]),
        ("p99", row["p99_us"]),
    ]
    shown = [f"{what} {value:.3g} x" for what, value in words if value is not None]
    return f"{row['of']} / {row['to']}: {', '.join(shown)}"


def _table(figures: dict[str, Figures], evaluated: int) -> str:
    """Return the medians, a target a line."""
    rows = [["", "requests/s", "p50 us", "p99 us", "CPU us/request", "wrong"]]
    if evaluated:
        rows[0] += ["evaluations/s", "evaluations/CPU s"]
    for name, one in figures.items():
        row = [name, *map(_number, (one.per_s, one.p50_us, one.p99_us, one.cpu_us))]
        row.append(f"{one.wrong}")
        if evaluated:
            row += map(_number, _evaluations(one, evaluated).values())
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _number(value: float | None) -> str:
    """Return three digits, or all of those before the point; a dash for what is not known."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
