"""The subcommand `dev`: its arguments, and what becomes of what goes wrong."""

import argparse
import asyncio
import os
import sys

from control_plane.dev.errors import DevError
from control_plane.dev.settings import DevSettings
from control_plane.dev.supervisor import run_dev
from proxy.contract.settings import SettingsError, add_arguments, read

__all__ = ["COMMAND"]


class _Dev:
    help = "run control plane, sidecar and an embedded server on this machine, to try it out"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_arguments(parser, DevSettings)

    def run(self, args: argparse.Namespace) -> int:
        """Run until stopped; 0 when asked to stop, 1 when something failed, 2 for bad settings."""
        try:
            settings = read(DevSettings, os.environ, vars(args))
        except SettingsError as error:
            sys.stderr.write("".join(f"matrixflag dev: {p}\n" for p in error.problems))
            return 2
        try:
            asyncio.run(run_dev(settings, _say))
        except DevError as error:
            sys.stderr.write(f"matrixflag dev: {error}\n")
            return 1
        return 0


def _say(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        # The terminal was closed, or the pipe's reader is gone: nobody listens any more. What is
        # buffered would fail again at exit, so it goes nowhere (as Python's `signal` page advises).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


COMMAND = _Dev()
