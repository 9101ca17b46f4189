"""What a subcommand of `matrixflag` is.

Subcommands are found through the entry-point group `matrixflag.commands`, so that the sidecar's
distribution needs to know none of the control plane's. Commands are duck typed: the control plane
imports nothing from here, its commands merely look like this.
"""

from argparse import ArgumentParser, Namespace
from typing import Protocol

__all__ = ["GROUP", "Command"]

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
