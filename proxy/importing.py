"""`matrixflag import`: another system's file into a control plane.

The file is read here and sent whole: what becomes of it, the control plane decides and answers.
Mistakes of its text, which JSON that was read and written again has not any more, are sent beside.
Members that hold secrets are left out before anything is sent. Exit status: 0 all of the file is
there now (or would be), 1 something is refused, 2 it cannot be asked.

The plan goes to stdout, what keeps it from being made to stderr.
"""

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import msgspec

from proxy.api_token import api_token
from proxy.commands import print_out, printable
from proxy.contract.api_token import BadTokenError, add_token_file, token_hint
from proxy.contract.asking import DEFAULT_URL, BadUrlError, checked_url, later_hint, unreached
from proxy.contract.confidential import without_secrets
from proxy.contract.problems import Problem
from proxy.file_documents import FileDocument, UnreadableFile, read_file_document

__all__ = ["COMMAND"]

SYSTEMS = ("flagd", "unleash", "growthbook", "launchdarkly", "goff", "native")

_MAX_BYTES = 32 * 1024 * 1024
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_TIMEOUT_S = 120.0
_SHOWN = 200  # of each kind, in text
_JSON_OPTIONS = frozenset(
    {"float", "companions", "savedGroups", "contextualBandits", "evaluationContextEnrichment"}
)


class _Unusable(Exception):
    """It cannot be done; the text says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is not sent to where an answer points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Command:
    """`matrixflag import`."""

    help = "import definitions of other systems, or a native export"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("system", choices=SYSTEMS, help="whose file it is; native is our own")
        parser.add_argument("file", metavar="FILE", help="JSON or YAML; - reads standard input")
        parser.add_argument("--project", metavar="KEY", help="the project [default]")
        parser.add_argument(
            "--environment", help="the environment [production; native: all that are in the file]"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument(
            "--replace", action="store_true", help="replace flags that were made here, too"
        )
        parser.add_argument(
            "--option",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="how to read the file, see docs/migrate; may be repeated; VALUE @FILE is read",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text", help="[text]")
        parser.add_argument(
            "--url", help=f"the control plane; MATRIXFLAG_URL in the environment [{DEFAULT_URL}]"
        )
        add_token_file(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Read, send, print, and return the exit status."""
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            document, flaws = _read_definitions(args.system, args.file)
            options = _options(args.option)
            secrets: list[Problem] = []
            if args.system != "native":  # which has none but what its author wrote into flags
                document, secrets = without_secrets(document)
            if secrets:
                names = {problem.pointer.rpartition("/")[2] for problem in secrets}
                told = ", ".join(sorted(names))
                sys.stderr.write(printable(f"matrixflag import: secrets were not sent: {told}\n"))
            body: dict[str, Any] = {"system": args.system, "options": options}
            if flaws:
                body["flaws"] = msgspec.to_builtins(flaws)
            status, answer = _ask(args, body, document)
        except (_Unusable, UnreadableFile, BadTokenError, BadUrlError) as error:
            sys.stderr.write(printable(f"matrixflag import: {error}\n"))
            return 2
        if status == 422:
            if args.format == "json":
                print_out(json.dumps(answer) + "\n")
            else:
                problems = [_problem(p, "/document") for p in answer.get("problems", [])]
                lines = ["nothing is imported:"] if problems else []
                lines += problems or [f"nothing is imported: {answer.get('detail', '')}"]
                lines = list(map(_one_line, lines))
                print_out("\n".join(lines) + "\n")
            return 1
        if args.format == "json":
            print_out(json.dumps(answer) + "\n")
        else:
            print_out(_told(answer))
        return 1 if answer["refused"] or answer["segments"]["refused"] else 0


COMMAND = _Command()


def _read_definitions(system: str, name: str) -> FileDocument:
    """Return what a file holds, and mistakes of what is in it, but none of all of it."""
    found = _read(name)
    deepest = 0 if system == "goff" else 1  # where a member that is there twice is no flag
    for flaw in found.flaws:
        if flaw.pointer.count("/") <= deepest:
            raise _Unusable(f"{name}: {_located(flaw)}")
    return found


def _read(name: str) -> FileDocument:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _Unusable(f"{name}: {error.strerror or error}") from None
    if len(data) > _MAX_BYTES:
        raise _Unusable(f"{name}: has more than {_MAX_BYTES} bytes, which is all that is taken")
    try:
        return read_file_document(name, data)
    except UnreadableFile as error:
        raise _Unusable(f"{name}: {error}") from None


def _located(problem: Problem) -> str:
    return f"{problem.pointer}: {problem.message}" if problem.pointer else problem.message


def _options(given: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise _Unusable(f"--option {text}: write it as name=value")
        if name in options:
            raise _Unusable(f"--option {name} is given twice")
        if value.startswith("@"):
            options[name], flaws = _read(value[1:])
            if flaws:
                raise _Unusable(f"{value[1:]}: {_located(flaws[0])}")
        elif name in _JSON_OPTIONS:
            try:
                options[name] = json.loads(value)
            except ValueError:
                raise _Unusable(f"--option {name}: {value!r} is not JSON") from None
        else:
            options[name] = value
    return options


def _ask(args: argparse.Namespace, body: dict[str, Any], document: Any) -> tuple[int, Any]:
    """Return the status, 200 or 422, and the answer of the control plane.

    Raises:
        _Unusable: for any other answer, or none.
        BadTokenError, BadUrlError: what is given cannot be used.
    """
    base = checked_url(args.url or os.environ.get("MATRIXFLAG_URL") or DEFAULT_URL)
    query: dict[str, str] = {} if args.project is None else {"project": args.project}
    query |= {} if args.environment is None else {"environment": args.environment}
    query |= {"dry_run": "true"} if args.dry_run else {}
    query |= {"replace": "true"} if args.replace else {}
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    token = api_token(args.token_file)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        data = json.dumps({**body, "document": document}, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise _Unusable(f"{args.file}: {error}") from None
    try:
        request = urllib.request.Request(  # noqa: S310 - http or https, as was just seen
            f"{base}/api/v1/import?{urllib.parse.urlencode(query)}", data, headers
        )
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            return response.status, json.loads(response.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        try:
            answer = json.loads(error.read(_MAX_ANSWER_BYTES))
        except (ValueError, OSError, http.client.HTTPException):
            answer = None
        if error.code == 422 and isinstance(answer, dict):
            return 422, answer
        if not isinstance(answer, dict) or "code" not in answer:
            why = "no control plane answers like that; a sidecar takes no imports"
            raise _Unusable(f"{base} answers {error.code} {error.reason}: {why}") from None
        hint = f"{token_hint(error.code)}{later_hint(error.headers.get('Retry-After'))}"
        said = f"{answer.get('detail')}{hint}"
        raise _Unusable(f"{base} answers {error.code}: {said}") from None
    except urllib.error.URLError as error:
        given = error.reason
        why = unreached(given) if isinstance(given, BaseException) else given
        raise _Unusable(f"{base} cannot be reached: {why}") from None
    except TimeoutError:
        raise _Unusable(f"{base} did not answer within {_TIMEOUT_S:g} s{_perhaps(args)}") from None
    except KeyboardInterrupt:
        sys.stderr.write(f"\nmatrixflag import: there was no answer yet{_perhaps(args)}\n")
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = type(error).__name__ if isinstance(error, ValueError) else str(error)
        why = why or type(error).__name__
        raise _Unusable(f"{base} cannot be asked: {why}{_perhaps(args)}") from None


def _perhaps(args: argparse.Namespace) -> str:
    """Return what is not known of a request without an answer."""
    if args.dry_run:
        return ""
    return "; it may have been applied: the same import again finishes it, or finds nothing to do"


# What people read


def _told(answer: dict[str, Any]) -> str:
    lines = [*_listed(answer, "flag"), *_listed(answer["segments"], "segment")]
    lines += [_problem(p) for p in answer["problems"][:_SHOWN]]
    if len(answer["problems"]) > _SHOWN:
        lines.append(f"  and {len(answer['problems']) - _SHOWN} more, see --format json")
    kinds = ("created", "changed", "unchanged", "refused")
    counts = ", ".join(f"{len(answer[kind])} {kind}" for kind in kinds)
    of_segments = [f"{n} {kind}" for kind in kinds if (n := len(answer["segments"][kind]))]
    segments = f"; segments: {', '.join(of_segments)}" if of_segments else ""
    only_here = len(answer["only_here"]) + len(answer["segments"]["only_here"])
    segments += f"; {only_here} only here" if only_here else ""
    end = f"revision {answer['revision']}"
    if answer["dry_run"]:
        end = "nothing was written: a dry run"
    elif not answer["applied"]:
        end = f"nothing to write, {end}"
    lines.append(f"flags: {counts}{segments}; {end}")
    return "".join(f"{_one_line(line)}\n" for line in lines)


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _listed(part: dict[str, Any], what: str) -> list[str]:
    lines = [f"+ {what} {key}" for key in part["created"][:_SHOWN]]
    for item in part["changed"][:_SHOWN]:
        lines.append(f"~ {what} {item['key']} ({', '.join(item.get('changes', []))})")
        lines += [f"  {_problem(p)}" for p in item.get("problems", [])]
    lines += [f"? {what} {key} is only here, not in the file" for key in part["only_here"][:_SHOWN]]
    lines += [
        f"  and {len(part[kind]) - _SHOWN} more {kind.replace('_', ' ')}, see --format json"
        for kind in ("created", "changed", "only_here")
        if len(part[kind]) > _SHOWN
    ]
    for item in part["refused"]:
        lines.append(f"! {what} {item['key']} is refused")
        lines += [f"  {_problem(p)}" for p in item.get("problems", [])]
    return lines


def _problem(problem: dict[str, Any], prefix: str = "") -> str:
    where = str(problem.get("pointer", "")).removeprefix(prefix)
    where = f"{where}: " if where else ""  # of all of it
    hint = f" ({problem['hint']})" if problem.get("hint") else ""
    severity, message = problem.get("severity", "error"), problem.get("message", "")
    return f"{severity}: {where}{message} [{problem.get('code', '')}]{hint}"
