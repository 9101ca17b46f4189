"""`matrixflag`: finds the subcommand that was asked for and hands over.

It knows the entry-point group and which extra a missing dependency belongs to, nothing of what the
commands do. Only the command that was named is imported, so the sidecar starts without the control
plane's dependencies; the overview imports them all and marks those that cannot run here.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import proxy
from proxy.commands import GROUP, Command, drop_output

__all__ = ["main"]

_EXTRAS = {
    "control-plane": "control-plane",
    "dev": "embedded",
    "keys": "control-plane",
    "validate": "control-plane",
}
"""The extra of `matrix-flag` that a command needs; commands not named here need none."""


class _Unavailable(Exception):
    """A command that is declared but cannot be imported here; the text says what to install."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    if getattr(proxy, "DISTRIBUTION", None) != "matrix-flag":
        where = getattr(proxy, "__file__", None)
        return _fail(
            f"the package `proxy` at {where} is not matrix-flag's: another distribution uses the"
            " same name. Install matrix-flag into an environment of its own."
        )
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_overview(commands))
        return 0
    name = arguments[0]
    if name in {"-V", "--version"}:
        sys.stdout.write(f"matrix-flag {proxy.__version__}\n")
        return 0
    if name not in commands:
        known = ", ".join(sorted(commands)) or "none is installed"
        return _fail(f"there is no command {name!r}; commands: {known}")
    try:
        return _run(name, commands[name], arguments[1:])
    except KeyboardInterrupt:
        sys.stderr.write(f"\nmatrixflag {name}: interrupted\n")
        return 130  # what shells report for a program ended by Ctrl-C
    except BrokenPipeError:
        drop_output()
        return 141  # and for one that nobody reads any more


def _run(name: str, entry: EntryPoint, arguments: list[str]) -> int:
    """Return the exit status of a command."""
    try:
        command = _load(entry)
    except _Unavailable as error:
        return _fail(str(error))
    # A secret is no argument, but people try; so `--key SECRET` is not taken for `--key-file`, and
    # what is not known is told by name only.
    parser = argparse.ArgumentParser(
        prog=f"matrixflag {name}", description=command.help, allow_abbrev=False
    )
    command.configure(parser)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        parser.error(f"unknown arguments: {', '.join(names) or 'more words than it takes'}")
    status = command.run(parsed)
    sys.stdout.flush()  # here, where it can be told that nobody reads
    return status


def _load(entry: EntryPoint) -> Command:
    """Return the command, imported.

    Raises:
        _Unavailable: when a module it needs is not installed.
    """
    gc.disable()  # importing leaves no garbage, and looking for it is a tenth of a cold start
    try:
        command: Command = entry.load()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "proxy":
            raise  # a defect of ours, not something to install
        extra = _EXTRAS.get(entry.name)
        package = f"matrix-flag[{extra}]" if extra else "matrix-flag"
        raise _Unavailable(
            f"`matrixflag {entry.name}` needs the module {error.name!r}, which is not installed."
            f" Install it with: pip install '{package}'"
        ) from error
    finally:
        gc.enable()
    return command


def _overview(commands: dict[str, EntryPoint]) -> str:
    """Return the text of `matrixflag --help`."""
    lines = ["usage: matrixflag COMMAND [arguments]", "", "commands:"]
    width = max(map(len, commands), default=0)
    for name in sorted(commands):
        try:
            text = _load(commands[name]).help
        except _Unavailable as error:
            text = f"not available: {error}"
        lines.append(f"  {name:<{width}}  {text}")
    lines += ["", "`matrixflag COMMAND --help` tells more; `matrixflag --version` the version."]
    return "\n".join(lines) + "\n"


def _fail(message: str) -> int:
    sys.stderr.write(f"matrixflag: {message}\n")
    return 2
