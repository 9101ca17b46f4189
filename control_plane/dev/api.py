"""The control plane as `matrixflag dev` starts it: `python -m control_plane.dev.api`.

The same as `matrixflag control-plane`, but a request from this machine needs no credential. That
can be had in no other way: no variable and no flag of the control plane's turns it on.
"""

import argparse
import dataclasses
import os
import sys

from control_plane.app import run
from control_plane.settings import Settings
from proxy.contract.settings import SettingsError, add_arguments


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="control_plane.dev.api", description=__doc__, allow_abbrev=False
    )
    add_arguments(parser, Settings)
    try:
        settings = Settings.load(os.environ, vars(parser.parse_args()))
        settings = dataclasses.replace(settings, dev=True)
    except SettingsError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
