"""`matrixflag evaluate`: what a flag of a file answers to a context, and why; no server needed.

The file is what a sidecar serves alone, definitions as people write them, or a snapshot as sidecars
are sent it. It is read and compiled by the same parts, so what is answered here is what a sidecar
would answer. Exit status: 0 answered, and as expected; 1 an error, or not as expected; 2 it cannot
be used like this, or the file cannot be read.

What is asked for goes to stdout, in one piece; what is wrong, and warnings, to stderr.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from proxy.contract import strict_json
from proxy.contract.codes import Severity
from proxy.contract.problems import Problem
from proxy.contract.snapshot import (
    MAX_SNAPSHOT_BYTES,
    Entry,
    EntryKind,
    SnapshotHeader,
    SnapshotRefused,
    read_entry,
    read_snapshot,
)
from proxy.contract.steps import finish
from proxy.engine import (
    CompiledSnapshot,
    compile_snapshot,
    explain,
    explanation_text,
    parse_moment,
    result_text,
)
from proxy.ofrep.context import BadContext, read_document
from proxy.sync.definitions_file import FileUnreadable, read_definitions

__all__ = ["COMMAND"]

T = TypeVar("T")

_DEFAULT_ENVIRONMENT = "production"
_MAX_CONTEXT_BYTES = 16 * 1024 * 1024
_MOST_PROBLEMS = 20


class _Unusable(Exception):
    """What was asked for cannot be done; the text says why."""


class _Project(NamedTuple):
    """What a file holds for an environment, compiled, and what is wrong with it, by place."""

    compiled: CompiledSnapshot
    entries: Mapping[tuple[EntryKind, str], Entry]
    problems: list[Problem]
    places: Mapping[str, str]
    """Where flags are in a file of definitions, by key; nothing of a snapshot."""


class _Command:
    """`matrixflag evaluate`."""

    help = "evaluate a flag of a file for a context, and say why it answers so"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--snapshot",
            required=True,
            metavar="FILE",
            type=Path,
            help="definitions as `matrixflag proxy --snapshot` takes them, or a snapshot",
        )
        parser.add_argument("--flag", required=True, metavar="KEY", help="the flag")
        parser.add_argument(
            "--context",
            default="{}",
            metavar="JSON",
            help="the context, a JSON object; @FILE reads it from a file, - from stdin [{}]",
        )
        parser.add_argument(
            "--environment",
            metavar="NAME",
            help=f"the environment of the definitions [{_DEFAULT_ENVIRONMENT}]",
        )
        parser.add_argument("--at", metavar="TIME", help="the time, RFC 3339 with a zone [now]")
        parser.add_argument("--explain", action="store_true", help="say why, step by step")
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="json is the answer over OFREP; with --explain the explanation [text]",
        )
        expected = parser.add_mutually_exclusive_group()
        expected.add_argument(
            "--expect", metavar="JSON", help="status 1 unless this is the value that is answered"
        )
        expected.add_argument(
            "--expect-variant",
            metavar="NAME",
            help="status 1 unless this is the variant; '' for the application's default",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Evaluate, print, and return the exit status."""
        for stream in (sys.stdout, sys.stderr):
            # a terminal that cannot show a character must not end in a traceback
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            expectation = _expectation(args)
            context = _context(args.context)
            now_ms = _moment(args.at)
            project = _project(args.snapshot, args.environment)
        except _Unusable as error:
            sys.stderr.write(f"matrixflag evaluate: {error}\n")
            return 2
        explanation = explain(project.compiled, project.entries, args.flag, context, now_ms)
        body = json.loads(bytes(explanation.result))
        if args.format == "json":
            shown = msgspec.json.encode(explanation) if args.explain else bytes(explanation.result)
            sys.stdout.write(shown.decode() + "\n")
        elif args.explain:
            sys.stdout.write(explanation_text(explanation))
        else:
            sys.stdout.write(result_text(explanation.result, explanation.because))
        for line in _remarks(args.flag, project):
            sys.stderr.write(line + "\n")
        if "errorCode" in body:
            for line in _help(args.flag, project, explanation.nearest):
                sys.stderr.write(line + "\n")
            return 1
        disappointment = expectation(body)
        if disappointment is not None:
            sys.stderr.write(f"matrixflag evaluate: {args.flag}: {disappointment}\n")
            return 1
        return 0


COMMAND = _Command()


def _context(text: str) -> dict[str, Any]:
    """Return the context that an argument gives or names."""
    where = "--context"
    try:
        if text == "-":
            where = "stdin"
            data = sys.stdin.buffer.read(_MAX_CONTEXT_BYTES + 1)
        elif text.startswith("@"):
            where = text[1:]
            with Path(where).open("rb") as file:
                data = file.read(_MAX_CONTEXT_BYTES + 1)
        else:
            data = text.encode("utf-8", "surrogateescape")
    except OSError as error:
        raise _Unusable(f"{where}: {error.strerror or error}") from None
    if len(data) > _MAX_CONTEXT_BYTES:
        raise _Unusable(f"{where}: the context has more than {_MAX_CONTEXT_BYTES} bytes")
    try:
        return read_document(data)
    except BadContext as error:
        raise _Unusable(f"{where}: {str(error).replace('the body', 'the context')}") from None


def _moment(text: str | None) -> int:
    if text is None:
        return time.time_ns() // 1_000_000
    moment = parse_moment(text)
    if moment is None:
        raise _Unusable(f"--at: {text!r} is no date and time such as 2026-12-01T09:00:00Z")
    return moment


def _expectation(args: argparse.Namespace) -> Callable[[dict[str, Any]], str | None]:
    """Return what says of a body in what it is not as expected, None where it is."""
    if args.expect_variant is not None:
        return lambda body: _differs("variant", args.expect_variant, body.get("variant", ""))
    if args.expect is None:
        return lambda _: None
    try:
        wanted = json.loads(args.expect)
    except ValueError:
        hint = f"; a string is written '{json.dumps(args.expect)}'"
        raise _Unusable(f"--expect: {args.expect!r} is not JSON{hint}") from None
    missing = object()

    def differs(body: dict[str, Any]) -> str | None:
        value = body.get("value", missing)
        if value is missing:
            return f"the value {json.dumps(wanted)} is expected, and no value is answered"
        return _differs("value", wanted, value)

    return differs


def _differs(what: str, wanted: Any, has: Any) -> str | None:
    if _same(wanted, has):
        return None
    return f"the {what} {json.dumps(wanted)} is expected, and it is {json.dumps(has)}"


def _same(a: Any, b: Any) -> bool:
    """Return whether two JSON values are the same; numbers are compared by value."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    return bool(a == b)


def _project(path: Path, environment: str | None) -> _Project:
    """Return what a file holds, compiled."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SNAPSHOT_BYTES + 1)
    except OSError as error:
        raise _Unusable(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise _Unusable(f"{path}: has more than {MAX_SNAPSHOT_BYTES} bytes")
    header = _header(data)
    try:
        if header is not None:
            return _of_snapshot(data, header, environment)
        return _of_definitions(data, environment or _DEFAULT_ENVIRONMENT)
    except SnapshotRefused as refused:
        raise _Unusable(f"{path}: {refused}") from None
    except FileUnreadable as unreadable:
        lines = "\n".join(map(_line, unreadable.problems[:_MOST_PROBLEMS]))
        raise _Unusable(f"{path}: cannot be read as definitions\n{lines}") from None


def _header(data: bytes) -> SnapshotHeader | None:
    """Return the first line when the file is a snapshot, None when it is definitions."""
    try:
        return msgspec.json.decode(data.partition(b"\n")[0], type=SnapshotHeader)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _of_snapshot(data: bytes, header: SnapshotHeader, environment: str | None) -> _Project:
    if environment not in (None, header.environment):
        raise _Unusable(f"the snapshot is of {header.environment!r}, not of {environment!r}")
    entries = finish(read_snapshot(data)).entries
    return _Project(finish(compile_snapshot(entries)), entries, [], {})


def _of_definitions(data: bytes, environment: str) -> _Project:
    content = finish(read_definitions(data, environment, strict_json.scan(data)))
    entries = {(e.kind, e.key): e for e in map(read_entry, content.lines)}
    compiled = finish(compile_snapshot(entries))
    document = json.loads(data)
    keys = [flag.get("key") if isinstance(flag, dict) else None for flag in document["flags"]]
    places = {key: f"/flags/{n}" for n, key in enumerate(keys) if isinstance(key, str)}
    return _Project(compiled, entries, content.problems, places)


def _remarks(key: str, project: _Project) -> list[str]:
    """Return the warnings about a flag: that it has nothing for the environment, above all."""
    found = _problems_of(key, project)
    return [_line(p) for p in found if p.severity is Severity.WARNING][:_MOST_PROBLEMS]


def _help(key: str, project: _Project, nearest: list[str]) -> list[str]:
    """Return what may be done about an error: what is wrong with the flag, or what it is called."""
    flag = project.compiled.flags.get(key)
    if flag is None:
        known = len(project.compiled.flags)
        meant = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        return [f"matrixflag evaluate: there is no flag {key!r} among the {known} here{meant}"]
    found = [p for p in _problems_of(key, project) if p.severity is Severity.ERROR]
    if not found and project.places:
        found = [p for p in project.problems if p.pointer.startswith("/segments/")]
    return [_line(problem) for problem in (found or flag.problems)[:_MOST_PROBLEMS]]


def _problems_of(key: str, project: _Project) -> list[Problem]:
    """Return what is wrong with a flag of a file of definitions, with pointers into the file."""
    place = project.places.get(key)
    if place is None:
        return []
    return [p for p in project.problems if (p.pointer + "/").startswith(place + "/")]


def _line(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"  {problem.pointer or '/'}: {problem.message} [{problem.code}]{hint}"
