"""`matrixflag compare`: two OFREP servers asked for the same contexts, and where they differ.

Both are asked at the same moment, a few contexts at once, and what differs is printed in the order
of the contexts, as soon as it is known. Exit status: 0 all alike, 1 differences, 2 it cannot be
used like this, or a server did not answer.

Differences and the summary go to stdout, what is wrong to stderr.
"""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from proxy.comparing.asking import NotAnswered, Server
from proxy.comparing.differences import (
    ASPECTS,
    MISSING,
    Answers,
    Difference,
    differences,
)
from proxy.contract.codes import ErrorCode
from proxy.ofrep.context import BadContext, read_document

__all__ = ["COMMAND"]

_MAX_CONTEXTS_BYTES = 256 * 1024 * 1024
_MAX_HEADERS_BYTES = 64 * 1024
_CONCURRENCY = 8
_TIMEOUT_S = 10.0
_SHOWN_DIFFERENCES = 100
_SHARES = 10  # one flag that is all different must not hide the others
_SHOWN_CHARS = 200
_SHOWN_FLAGS = 20
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class _Unusable(Exception):
    """What was asked for cannot be done; the text says why."""


class _Plan(NamedTuple):
    """What is asked of whom."""

    urls: tuple[str, str]
    headers: tuple[dict[str, str], dict[str, str]]
    contexts: list[dict[str, Any]]
    flags: tuple[str, ...] | None
    aspects: tuple[str, ...]
    concurrency: int
    timeout_s: float


class _Asked(NamedTuple):
    """A context, by its number from 1, and what differs in the answers to it."""

    number: int
    context: Mapping[str, Any]
    compared: tuple[str, ...]
    found: list[Difference]
    failed: dict[str, str]
    """The flags that both answered with one error, and its code."""


class _Command:
    """`matrixflag compare`."""

    help = "ask two OFREP servers the same, and print what they answer differently"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--ofrep",
            action="append",
            required=True,
            metavar="URL",
            help="a server, without /ofrep/v1; given twice",
        )
        parser.add_argument(
            "--contexts",
            required=True,
            metavar="FILE",
            help="contexts: one JSON object a line, or an array of them; - is stdin",
        )
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--flags",
            action="append",
            metavar="KEYS",
            help="flags to ask one by one, separated by commas; may be repeated",
        )
        which.add_argument(
            "--bulk", action="store_true", help="all flags of either server, in bulk [so it is]"
        )
        for name, whom in (
            ("", "both servers"),
            ("first-", "the first"),
            ("second-", "the second"),
        ):
            parser.add_argument(
                f"--{name}header",
                action="append",
                default=[],
                metavar="HEADER",
                help=f"'Name: value' that is sent to {whom}; @FILE has one a line",
            )
        parser.add_argument(
            "--no-variant", action="store_true", help="variants may be called differently"
        )
        parser.add_argument("--reason", action="store_true", help="compare the reasons, too")
        parser.add_argument(
            "--limit",
            type=int,
            default=_SHOWN_DIFFERENCES,
            metavar="N",
            help="differences that are printed, a tenth of them at most of one flag; all are "
            f"counted [{_SHOWN_DIFFERENCES}]",
        )
        parser.add_argument(
            "--concurrency",
            type=int,
            default=_CONCURRENCY,
            metavar="N",
            help=f"contexts that are asked at once [{_CONCURRENCY}]",
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=_TIMEOUT_S,
            metavar="SECONDS",
            help=f"how long an answer is waited for [{_TIMEOUT_S:g}]",
        )
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="json is an object a line: differences, and the summary as the last [text]",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Ask, print, and return the exit status."""
        for stream in (sys.stdout, sys.stderr):
            # a terminal that cannot show a character must not end in a traceback
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            plan = _plan(args)
            printer = _Printer(args.format == "json", max(args.limit, 0), plan.aspects)
            try:
                asyncio.run(_compare(plan, printer))
            except KeyboardInterrupt:
                printer.summary(interrupted=True)
                raise
        except (_Unusable, NotAnswered) as error:
            sys.stderr.write(f"matrixflag compare: {error}\n")
            return 2
        printer.summary()
        unknown = printer.unknown()
        if unknown is not None:
            sys.stderr.write(f"matrixflag compare: {unknown}\n")
            return 2
        return 1 if printer.differences else 0


COMMAND = _Command()


# What is asked for


def _plan(args: argparse.Namespace) -> _Plan:
    if len(args.ofrep) != 2:
        raise _Unusable("--ofrep names two servers")
    if args.concurrency < 1:
        raise _Unusable("--concurrency is at least 1")
    if not 0 < args.timeout < 3600:
        raise _Unusable("--timeout is above 0, in seconds")
    common = dict(_headers(args.header))
    contexts = list(_contexts(args.contexts))
    if not contexts:
        raise _Unusable(f"{args.contexts}: there is no context in it")
    flags: tuple[str, ...] | None = None
    if args.flags is not None:
        named = (key.strip() for keys in args.flags for key in keys.split(","))
        flags = tuple(dict.fromkeys(key for key in named if key))
        if not flags:
            raise _Unusable("--flags names no flag")
    left_out = {"variant"} if args.no_variant else set()
    left_out |= set() if args.reason else {"reason"}
    return _Plan(
        (_url(args.ofrep[0]), _url(args.ofrep[1])),
        (
            {**common, **dict(_headers(args.first_header))},
            {**common, **dict(_headers(args.second_header))},
        ),
        contexts,
        flags,
        tuple(aspect for aspect in ASPECTS if aspect not in left_out),
        args.concurrency,
        args.timeout,
    )


def _url(text: str) -> str:
    """Return where a server is, without the path of the protocol."""
    try:
        url = URL(text)
        usable = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        usable = False
    if not usable:
        raise _Unusable(f"--ofrep: {text!r} is no URL such as http://localhost:8016")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise _Unusable("--ofrep: a URL without user, query and fragment; keys are for --header")
    return text.rstrip("/").removesuffix("/ofrep/v1")


def _headers(given: list[str]) -> Iterator[tuple[str, str]]:
    """Yield names and values; what is not understood is not repeated, as it may be a secret."""
    for text in given:
        lines = [text]
        if text.startswith("@"):
            lines = _read(text[1:], _MAX_HEADERS_BYTES).decode(errors="replace").splitlines()
        for line in lines:
            match = _HEADER.fullmatch(line.strip())
            if match is not None:
                yield match[1], match[2]
            elif line.strip():
                raise _Unusable("--header: a header is written 'Name: value'")


def _contexts(name: str) -> Iterator[dict[str, Any]]:
    """Yield the contexts of a file."""
    data = _read(name, _MAX_CONTEXTS_BYTES).removeprefix(b"\xef\xbb\xbf")
    where = "stdin" if name == "-" else name
    if not data.lstrip().startswith(b"["):
        for number, line in enumerate(data.splitlines(), 1):
            if line.strip():
                try:
                    yield read_document(line)
                except BadContext as error:
                    why = str(error).replace("the body", "the context")
                    raise _Unusable(f"{where}, line {number}: {why}") from None
        return
    try:
        items = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _Unusable(f"{where}: not JSON: {error}") from None
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise _Unusable(f"{where}: item {number} of the array is no object")
        yield item


def _read(name: str, most: int) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        raise _Unusable(f"{name}: {error.strerror or error}") from None
    if len(data) > most:
        raise _Unusable(f"{name}: has more than {most} bytes")
    return data


# Asking


async def _compare(plan: _Plan, printer: "_Printer") -> None:
    connector = aiohttp.TCPConnector(limit=2 * plan.concurrency)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as s:
        first, second = (
            Server(s, url, headers, plan.timeout_s)
            for url, headers in zip(plan.urls, plan.headers, strict=True)
        )
        async with aclosing(_asked(plan, first, second)) as all_asked:
            async for asked in all_asked:
                printer.show(asked)


async def _asked(plan: _Plan, first: Server, second: Server) -> AsyncGenerator[_Asked, None]:
    """Yield what was asked, in the order of the contexts, at most `concurrency` ahead."""
    running: deque[asyncio.Task[_Asked]] = deque()
    waiting = iter(enumerate(plan.contexts, 1))
    try:
        while True:
            while len(running) < plan.concurrency:
                item = next(waiting, None)
                if item is None:
                    break
                running.append(asyncio.create_task(_ask(plan, first, second, *item)))
            if not running:
                return
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _ask(
    plan: _Plan, first: Server, second: Server, number: int, context: dict[str, Any]
) -> _Asked:
    one: Answers
    other: Answers
    if plan.flags is None:
        one, other = await asyncio.gather(
            first.answers(context, None), second.answers(context, None)
        )
        compared = tuple(dict.fromkeys([*one, *other]))
    else:
        one, other, compared = {}, {}, plan.flags
        for flag in plan.flags:  # both at one moment, as time may decide
            a, b = await asyncio.gather(
                first.answers(context, (flag,)), second.answers(context, (flag,))
            )
            one, other = {**one, **a}, {**other, **b}
    found = list(differences(one, other, compared, plan.aspects))
    failed = {}
    for flag in compared:
        code = one.get(flag, MISSING).get("errorCode")
        if code is not None and code == other.get(flag, MISSING).get("errorCode"):
            failed[flag] = str(code)
    return _Asked(number, context, compared, found, failed)


# Printing


class _Printer:
    """Prints what differs, and counts."""

    def __init__(self, as_json: bool, limit: int, aspects: tuple[str, ...]) -> None:
        self.differences = 0
        self._as_json = as_json
        self._limit = limit
        self._limit_of_one = max(limit // _SHARES, 1)
        self._printed = 0
        self._aspects = aspects
        self._contexts = 0
        self._evaluations = 0
        self._failed = 0
        self._flags: set[str] = set()
        self._known: set[str] = set()
        self._by_flag: Counter[str] = Counter()

    def show(self, asked: _Asked) -> None:
        """Count what was asked, and print what differs, up to the limit."""
        self._contexts += 1
        self._evaluations += len(asked.compared)
        self._failed += len(asked.failed)
        self._flags.update(asked.compared)
        not_found = ErrorCode.FLAG_NOT_FOUND
        self._known.update(k for k in asked.compared if asked.failed.get(k) != not_found)
        for difference in asked.found:
            self.differences += 1
            self._by_flag[difference.flag] += 1
            shown = self._by_flag[difference.flag] <= self._limit_of_one
            if shown and self._printed < self._limit:
                self._printed += 1
                made = self._json if self._as_json else self._text
                sys.stdout.write(made(difference, asked))

    def summary(self, *, interrupted: bool = False) -> None:
        """Print the counts; `interrupted` says that they are those of some of the contexts."""
        counts = {
            "contexts": self._contexts,
            "flags": len(self._flags),
            "evaluations": self._evaluations,
            "same errors": self._failed,
            "differences": self.differences,
        }
        if self._as_json:
            by_flag = dict(self._by_flag.most_common())
            counts["same_errors"] = counts.pop("same errors")
            summary = {**counts, "compared": [*self._aspects, "error"], "by_flag": by_flag}
            summary |= {"interrupted": True} if interrupted else {}
            sys.stdout.write(json.dumps({"summary": summary}) + "\n")
            return
        if self.differences > self._printed:
            sys.stdout.write(f"... and {self.differences - self._printed} more differences\n")
        if self.differences:
            sys.stdout.write("\ndifferences by flag\n")
            for flag, count in self._by_flag.most_common():
                sys.stdout.write(f"  {count:>6}  {_shown(flag)}\n")
            sys.stdout.write("\n")
        shown = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        so_far = "interrupted; so far " if interrupted else ""
        compared = ", ".join([*self._aspects, "error"])
        sys.stdout.write(f"{so_far}{shown}; compared: {compared}\n")

    def unknown(self) -> str | None:
        """Return that flags, or all, were not there to be compared; None where they were."""
        if not self._evaluations:
            return "neither server answered a flag, so nothing was compared"
        missing = sorted(self._flags - self._known)
        if not missing:
            return None
        shown = ", ".join(map(_shown, missing[:_SHOWN_FLAGS]))
        return f"neither server has {shown}" + (" and more" if missing[_SHOWN_FLAGS:] else "")

    @staticmethod
    def _json(difference: Difference, asked: _Asked) -> str:
        document = {
            "flag": difference.flag,
            "context_number": asked.number,
            "context": asked.context,
            **{name: list(pair) for name, pair in difference.aspects.items()},
        }
        return json.dumps(document) + "\n"

    @staticmethod
    def _text(difference: Difference, asked: _Asked) -> str:
        unit = asked.context.get("targetingKey")
        who = f"context {asked.number}" + (f", {_shown(unit)}" if unit is not None else "")
        lines = [f"{_shown(difference.flag)} ({who})"]
        for name, (one, other) in difference.aspects.items():
            lines.append(f"  {name:<8} {_shown(one)}  |  {_shown(other)}")
        return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """Return a value as people read it on one line."""
    if value is None:
        return "(none)"
    plain = isinstance(value, str) and re.fullmatch(r"[\w.:/@+-]+", value)
    text = value if plain else json.dumps(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
