"""`matrixflag export`: a project's definitions as a file, for sidecars alone or for flagd.

Exit status: 0 all of it is in the file, 1 something is left out, which is told, 2 it cannot be used
like this, or the control plane cannot be read. The file goes to stdout or to `--output`, which is
replaced at once or not at all; remarks go to stderr.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from proxy.api_token import api_token
from proxy.commands import printable
from proxy.contract.api_token import BadTokenError, add_token_file
from proxy.contract.asking import DEFAULT_URL, BadUrlError, checked_url
from proxy.contract.authoring import project, project_segment
from proxy.contract.definitions import Flag, Segment
from proxy.exporting.flagd import Remark, to_flagd
from proxy.exporting.reading import Definitions, NotRead, read_project

__all__ = ["COMMAND"]

_DEFAULT_ENVIRONMENT = "production"
_SHOWN_ONLY = ("value", "enabled", "version", "created_at", "updated_at")
"""Members of a read that say nothing which the rest does not, or that only the API knows."""


class _Unusable(Exception):
    """What was asked for cannot be done; the text says why."""


class _Command:
    """`matrixflag export`."""

    help = "write a project's definitions to a file, native or flagd's"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "system",
            choices=("flagd", "native"),
            help="native is what `proxy --snapshot`, `validate` and `evaluate` take",
        )
        parser.add_argument("--project", metavar="KEY", help="the project [the default one]")
        parser.add_argument(
            "--environment",
            metavar="KEY",
            help=f"the environment [flagd: {_DEFAULT_ENVIRONMENT}; native: all of them]",
        )
        parser.add_argument(
            "--output", metavar="FILE", type=Path, help="the file to write [stdout]"
        )
        parser.add_argument(
            "--url", metavar="URL", help=f"the control plane [MATRIXFLAG_URL, {DEFAULT_URL}]"
        )
        add_token_file(parser)
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="how remarks are written to stderr; json is one list [text]",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Read, write, tell what is to be known, and return the exit status."""
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            url = checked_url(args.url or os.environ.get("MATRIXFLAG_URL") or DEFAULT_URL)
            token = api_token(args.token_file)
            found = asyncio.run(read_project(url, token, args.project))
            document, remarks = _document(found, args.system, args.environment)
            _write(document, args.output)
        except (_Unusable, NotRead, BadTokenError, BadUrlError) as error:
            sys.stderr.write(printable(f"matrixflag export: {error}\n"))
            return 2
        _tell(remarks, args.format)
        return int(any(remark.left_out for remark in remarks))


COMMAND = _Command()


def _document(
    found: Definitions, system: str, environment: str | None
) -> tuple[dict[str, Any], list[Remark]]:
    """Return the file, and what is to be known of it."""
    if system == "flagd":
        environment = environment or _DEFAULT_ENVIRONMENT
    if environment is not None and environment not in found.environments:
        known = ", ".join(found.environments)
        raise _Unusable(f"there is no environment {environment!r}; there are {known}")
    if system == "flagd":
        return _flagd(found, str(environment))
    return _native(found, environment)


def _native(found: Definitions, environment: str | None) -> tuple[dict[str, Any], list[Remark]]:
    """Return definitions as authors write them."""
    flags = []
    for item in found.flags:
        flag = _authored(item)
        if environment is not None:
            configured = flag["environments"]
            flag["environments"] = {k: v for k, v in configured.items() if k == environment}
        flags.append(flag)
    remarks, segments = [], []
    for item in found.segments:
        segment = _authored(item)
        units = segment.pop("units", None)
        if units is not None:
            counts = f"{units['included']:,} included and {units['excluded']:,} excluded units"
            text = f"its long lists, of {counts}, are not in the file: nobody is in it by them"
            remarks.append(Remark(item["key"], True, text, "segment"))
        segments.append(segment)
    return {"flags": flags, "segments": segments}, remarks


def _flagd(found: Definitions, environment: str) -> tuple[dict[str, Any], list[Remark]]:
    """Return what one environment serves as a file of flagd."""
    segments = {}
    for item in found.segments:
        document = _authored(item)
        if "units" in document:  # which blobs they are in does not matter
            document["units"] = {"included": {"count": 0, "blobs": []}}
        segment = msgspec.convert(document, Segment)
        segments[segment.key] = project_segment(segment)
    flags, remarks = {}, []
    for item in found.flags:
        flag = msgspec.convert(_authored(item), Flag)
        if flag.archived:
            remarks.append(Remark(flag.key, True, "it is archived"))
        else:
            flags[flag.key] = project(flag, environment)
    export = to_flagd(flags, segments)
    return export.document, remarks + export.remarks


def _authored(item: dict[str, Any]) -> dict[str, Any]:
    """Return what was read as its author would write it."""
    kept = {name: value for name, value in item.items() if name not in _SHOWN_ONLY}
    if kept.get("expires", "") is None:
        del kept["expires"]
    return kept


def _write(document: dict[str, Any], output: Path | None) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "surrogatepass")
    try:
        if output is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        with tempfile.NamedTemporaryFile(dir=output.parent, delete=False) as file:
            try:
                file.write(data)
                file.flush()
                Path(file.name).chmod(0o644)
                Path(file.name).replace(output)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise _Unusable(f"{output or 'stdout'}: {error.strerror or error}") from None


def _tell(remarks: list[Remark], form: str) -> None:
    if form == "json":
        sys.stderr.write(json.dumps([remark._asdict() for remark in remarks]) + "\n")
        return
    for remark in remarks:
        what = "left out" if remark.left_out else "note"
        line = printable(f"{what}: {remark.kind} {remark.key}: {remark.text}")
        sys.stderr.write(line.replace("\n", "\\n") + "\n")
    out = len({(remark.kind, remark.key) for remark in remarks if remark.left_out})
    if out:
        sys.stderr.write(f"matrixflag export: of {out} something is not in the file\n")
