"""The subcommand `validate`: its arguments, the files it reads, and its exit status.

    0  nothing is wrong; there may be warnings, unless `--strict`
    1  something is
    2  it could not be asked: bad arguments, or a file that cannot be read

Problems and the summary go to stdout, what keeps it from its work to stderr. With `--format json`
stdout holds only the list.
"""

import argparse
from collections.abc import Iterable
from contextlib import suppress

from control_plane.validation.project import check_files
from control_plane.validation.report import FORMATS, findings, summary
from proxy.contract.codes import Severity
from proxy.contract.snapshot import MAX_SNAPSHOT_BYTES

__all__ = ["COMMAND"]

_STDOUT, _STDERR = 1, 2
_STDIN = "-"
_STDIN_NAME = "<stdin>"


class _Unreadable(Exception):
    """A file that cannot be read; the text says why."""


class _Validate:
    help = "say everything that is wrong with files of definitions"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "files",
            metavar="FILE",
            nargs="+",
            help="definitions, one flag, one segment, a file of flagd, JSON or YAML, or a snapshot;"
            " - reads standard input, JSON."
            " Files given together are one project",
        )
        parser.add_argument(
            "--format", choices=tuple(FORMATS), default="text", help="how problems are printed"
        )
        parser.add_argument(
            "--environment",
            metavar="E",
            action="append",
            default=[],
            help="warn of flags that are not configured for this environment; may be repeated",
        )
        parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings, too")

    def run(self, args: argparse.Namespace) -> int:
        """Check the files, print what was found and return the exit status."""
        files: list[tuple[str, bytes]] = []
        unreadable = 0
        for path in dict.fromkeys(args.files):
            try:
                files.append((_STDIN_NAME if path == _STDIN else path, _read(path)))
            except _Unreadable as error:
                unreadable += 1
                _write([f"matrixflag validate: {path}: {error}"], _STDERR)
        checked = check_files(files, list(dict.fromkeys(args.environment)))
        found = findings(checked)
        lines = list(FORMATS[args.format](found))
        if args.format != "json" and checked:
            lines.append(summary(checked, len(found), unreadable))
        try:
            _write(lines, _STDOUT)
        except OSError as error:
            _write([f"matrixflag validate: standard output: {_reason(error)}"], _STDERR)
            return 2
        if unreadable:
            return 2
        failing = {Severity.ERROR, Severity.WARNING} if args.strict else {Severity.ERROR}
        return int(any(file.notes.counts[severity] for file in checked for severity in failing))


COMMAND = _Validate()


def _read(path: str) -> bytes:
    """Return the content of a file, or of standard input for `-`.

    Raises:
        _Unreadable: when it cannot be read, or is larger than a sidecar would read.
    """
    try:
        with open(0 if path == _STDIN else path, "rb", closefd=path != _STDIN) as file:
            data = file.read(MAX_SNAPSHOT_BYTES + 1)
    except IsADirectoryError:
        raise _Unreadable("is a directory; name the files in it") from None
    except OSError as error:
        raise _Unreadable(_reason(error)) from None
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise _Unreadable(f"has more than {MAX_SNAPSHOT_BYTES} bytes, which is all that is read")
    return data


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _write(lines: Iterable[str], descriptor: int) -> None:
    """Write lines; when nobody reads them any more (`| head`), the exit status still tells."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
    with suppress(BrokenPipeError), open(descriptor, "wb", closefd=False) as out:
        out.write(data)
