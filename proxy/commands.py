"""What a subcommand of `matrixflag` is.

Subcommands are found through the entry-point group `matrixflag.commands`, so that the sidecar's
distribution needs to know none of the control plane's. Commands are duck typed: the control plane
imports nothing from here, its commands merely look like this.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import Protocol

__all__ = ["GROUP", "Command", "drop_output", "print_out", "printable"]

GROUP = "matrixflag.commands"
"""The entry-point group; the name of an entry is the name of the subcommand."""


class Command(Protocol):
    """One subcommand. Importing the module that holds it must stay cheap and free of effects."""

    @property
    def help(self) -> str:
        """One line that says what the command is for."""

    def configure(self, parser: ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: Namespace) -> int:
        """Do the work and return the exit status: 0 done, 1 failed, 2 cannot be used like this."""


def drop_output() -> None:
    """Send what is still to be printed nowhere: whoever read standard output has gone."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_out(text: str) -> None:
    """Print text at once; if nobody reads it any more (`| head`), the exit status still tells."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()


def printable(text: str) -> str:
    """Return text with what a terminal would take for a command written out; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
