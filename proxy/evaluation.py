"""`matrixflag evaluate`: what a flag of a file answers to a context, and why; no server needed.

The files are definitions as people write them, together one project, or one is a snapshot as
sidecars are sent it, or a file of flagd. They are read and compiled by the same parts, so what is
answered here is what a sidecar would answer. But for long lists of units: a snapshot names the
blobs that hold them, and sidecars fetch these; here what hangs on one is said not to be known.

Exit status: 0 answered, and as expected; 1 an error, not as expected, or not to be known; 2 it
cannot be used like this, or a file cannot be read.

What is asked for goes to stdout, in one piece; what is wrong, and warnings, to stderr.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.decode import decode
from proxy.contract.definitions import FlagDefinition
from proxy.contract.equality import same_json
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
    FileText,
    FileUnreadable,
    compile_snapshot,
    explain,
    explanation_text,
    parse_moment,
    read_file_text,
    result_text,
)
from proxy.evaluation_files import TextFile, combined
from proxy.ofrep.context import BadContext, read_document
from proxy.sync.definitions_file import read_definitions

__all__ = ["COMMAND"]

_DEFAULT_ENVIRONMENT = "production"
_FRACTIONAL = "MATRIXFLAG_FLAGD_FRACTIONAL"
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
    """Where flags are in files of definitions, by key; nothing of a snapshot."""
    name: Callable[[str], str] = str
    """Returns how a place is told."""


class _Command:
    """`matrixflag evaluate`."""

    help = "evaluate a flag of a file for a context, and say why it answers so"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--snapshot",
            required=True,
            metavar="FILE",
            nargs="+",
            action="extend",
            type=Path,
            help="a file as `matrixflag proxy --snapshot` takes it, JSON or YAML, one flag, one"
            " segment, or a snapshot; files of definitions given together are one project",
        )
        parser.add_argument(
            "--flagd-fractional",
            choices=("v1", "v2", "v3"),
            help="how `fractional` of a file of flagd splits; MATRIXFLAG_FLAGD_FRACTIONAL in the"
            " environment [v2]",
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
            project = _project(args.snapshot, args.environment, _fractional(args))
        except _Unusable as error:
            sys.stderr.write(f"matrixflag evaluate: {error}\n")
            return 2
        explanation = explain(project.compiled, project.entries, args.flag, context, now_ms)
        unconfigured = _unconfigured(args.flag, project)
        if unconfigured is not None:
            explanation = msgspec.structs.replace(explanation, because=unconfigured)
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
        unknown = _unknown_lists(args.flag, project.compiled)
        if unknown:
            sys.stderr.write(_not_known(args.flag, unknown) + "\n")
        if "errorCode" in body:
            for line in _help(args.flag, project, explanation.nearest):
                sys.stderr.write(line + "\n")
            return 1
        if unknown:
            return 1
        disappointment = expectation(body)
        if disappointment is not None:
            hint = _no_such_variant(args, project)
            sys.stderr.write(f"matrixflag evaluate: {args.flag}: {disappointment}{hint}\n")
            return 1
        expected = args.expect is not None or args.expect_variant is not None
        return int(unconfigured is not None and not expected)


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
    if same_json(wanted, has):
        return None
    return f"the {what} {json.dumps(wanted)} is expected, and it is {json.dumps(has)}"


def _fractional(args: argparse.Namespace) -> str:
    """Return by which version flagd's operator of that name splits."""
    version: str = args.flagd_fractional or os.environ.get(_FRACTIONAL) or "v2"
    if version not in ("v1", "v2", "v3"):
        raise _Unusable(f"{_FRACTIONAL}: {version!r} is none of v1, v2 and v3")
    return version


def _project(paths: list[Path], environment: str | None, fractional: str) -> _Project:
    """Return what files hold, compiled."""
    files = [(path, _content(path)) for path in dict.fromkeys(paths)]
    headers = [(path, data, header) for path, data in files if (header := _header(data))]
    if headers and len(files) > 1:
        raise _Unusable(f"{headers[0][0]}: a snapshot stands by itself; give no other file")
    for path, data, header in headers:
        try:
            return _of_snapshot(data, header, environment)
        except SnapshotRefused as refused:
            raise _Unusable(f"{path}: {refused}") from None
    environment = environment or _DEFAULT_ENVIRONMENT
    texts = []
    for path, data in files:
        text, flaws, flagd = _text(path, data)
        if flagd is not None and len(files) > 1:
            raise _Unusable(f"{path}: a file of flagd stands by itself; give no other file")
        if flagd is not None:
            return _of_flagd(path, flagd, environment, fractional, flaws)
        texts.append(TextFile(str(path), text, flaws))
    return _of_definitions(texts, environment)


def _text(path: Path, data: bytes) -> FileText:
    """Return what a file says. What is no JSON is left as it is: reading it says more of it."""
    try:
        return read_file_text(path.name, data)
    except FileUnreadable as error:
        no_json = any(p.code is ProblemCode.MALFORMED_JSON for p in error.problems)
        if no_json and path.suffix.lower() not in (".yaml", ".yml"):
            return FileText(data, [], None)
        raise _Unusable(f"{path}: {error}") from None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SNAPSHOT_BYTES + 1)
    except OSError as error:
        raise _Unusable(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise _Unusable(f"{path}: has more than {MAX_SNAPSHOT_BYTES} bytes")
    return data


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


def _of_flagd(
    path: Path, document: dict[str, Any], environment: str, fractional: str, flaws: list[Problem]
) -> _Project:
    from proxy.sync.flagd_file import flags_of_flagd, read_flagd  # most files are none

    try:
        content = read_flagd(document, environment, fractional, flaws)
    except FileUnreadable as unreadable:
        lines = [_line(p) for p in unreadable.problems[:_MOST_PROBLEMS]]
        raise _Unusable("\n".join([f"{path}: cannot be served", *lines])) from None
    entries = {(e.kind, e.key): e for e in map(read_entry, content.lines)}
    compiled = finish(compile_snapshot(entries))
    where = {key: place for place, key in flags_of_flagd(document["flags"]).items()}
    return _Project(compiled, entries, content.problems, where)


def _of_definitions(files: list[TextFile], environment: str) -> _Project:
    data, places, flaws, problems = combined(files)
    if problems:
        lines = [f"{file}: cannot be read as definitions\n{_line(p)}" for file, p in problems]
        raise _Unusable("\n".join(lines[:_MOST_PROBLEMS]))
    try:
        steps = read_definitions(data, environment, flaws, places.name)
        content = finish(steps)
    except FileUnreadable as unreadable:
        lines = [_line(p, places.name) for p in unreadable.problems[:_MOST_PROBLEMS]]
        raise _Unusable("\n".join(["the files cannot be read as definitions", *lines])) from None
    entries = {(e.kind, e.key): e for e in map(read_entry, content.lines)}
    compiled = finish(compile_snapshot(entries))
    document = json.loads(data)
    keys = [flag.get("key") if isinstance(flag, dict) else None for flag in document["flags"]]
    where = {key: f"/flags/{n}" for n, key in enumerate(keys) if isinstance(key, str)}
    return _Project(compiled, entries, content.problems, where, places.name)


def _unconfigured(key: str, project: _Project) -> str | None:
    """Return that a flag is not configured for the environment that is asked about, if so."""
    found = (p for p in _problems_of(key, project) if p.code is ProblemCode.UNKNOWN_ENVIRONMENT)
    return next((f"{p.message} ({p.hint})" for p in found), None)


def _no_such_variant(args: argparse.Namespace, project: _Project) -> str:
    """Return that no variant has the name that is expected, if so."""
    entry = project.entries.get(("flag", args.flag))
    if not args.expect_variant or entry is None:
        return ""
    definition, _ = decode(entry.definition, FlagDefinition)
    if definition is None or args.expect_variant in definition.variants:
        return ""
    return f"; the flag has no such variant, it has {', '.join(definition.variants)}"


def _remarks(key: str, project: _Project) -> list[str]:
    """Return the warnings about a flag: that it has nothing for the environment, above all."""
    found = _problems_of(key, project)
    told = [p for p in found if p.severity is Severity.WARNING]
    told = [p for p in told if p.code is not ProblemCode.UNKNOWN_ENVIRONMENT]  # said in `because`
    return [_line(p, project.name) for p in told[:_MOST_PROBLEMS]]


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
    if not found:
        return [_line(problem) for problem in flag.problems[:_MOST_PROBLEMS]]
    lines = [_line(problem, project.name) for problem in found[:_MOST_PROBLEMS]]
    if any(problem.code in _OF_SHAPE for problem in found):
        lines.append("  more may be wrong with it; `matrixflag validate` says all there is")
    return lines


_OF_SHAPE = frozenset(
    {ProblemCode.UNKNOWN_FIELD, ProblemCode.MISSING_FIELD, ProblemCode.WRONG_TYPE}
)
"""Of what may not have been decoded; then nothing is known of what it means."""


def _unknown_lists(key: str, compiled: CompiledSnapshot) -> list[str]:
    """Return the segments whose long lists are not at hand and that a flag's answer hangs on.

    Of those that it asks, too: without the list they fail, and it would seem to be off.
    """
    flags, segments = [key], list[str]()
    seen_flags, seen_segments, found = set[str](), set[str](), set[str]()
    while flags:
        name = flags.pop()
        flag = compiled.flags.get(name)
        if flag is not None and name not in seen_flags:
            seen_flags.add(name)
            flags += [asked for asked, _ in flag.prerequisites]
            segments += [used for used, _ in flag.segments]
    while segments:
        name = segments.pop()
        segment = compiled.segments.get(name)
        if segment is not None and name not in seen_segments:
            seen_segments.add(name)
            segments += [used for used, _ in segment.names]
            if any(map(_is_of_lists, segment.problems)):
                found.add(name)
    return sorted(found)


def _is_of_lists(problem: Problem) -> bool:
    """Return whether it is the segment's own list that is missing, not that of one it names."""
    return problem.code is ProblemCode.MISSING_BLOB and problem.pointer.startswith("/units")


def _not_known(key: str, segments: list[str]) -> str:
    named = ", ".join(map(repr, segments[:_MOST_PROBLEMS]))
    what = "segment" if len(segments) == 1 else "segments"
    path = quote(key)
    return (
        f"matrixflag evaluate: what {key!r} answers cannot be known from this file: it names the "
        f"long lists of units of the {what} {named}, and does not have the units; ask the control "
        f"plane, POST /api/v1/evaluate/{path}, or a sidecar, POST /explain/{path}"
    )


def _problems_of(key: str, project: _Project) -> list[Problem]:
    """Return what is wrong with a flag of a file of definitions, with pointers into the file."""
    place = project.places.get(key)
    if place is None:
        return []
    return [p for p in project.problems if (p.pointer + "/").startswith(place + "/")]


def _line(problem: Problem, name: Callable[[str], str] = str) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"  {name(problem.pointer) or '/'}: {problem.message} [{problem.code}]{hint}"
