"""`python -m control_plane`: the same as `matrixflag control-plane`."""

import argparse
import sys

from control_plane.app import COMMAND


def main() -> int:
    """Parse the command line, serve, and return the exit status."""
    parser = argparse.ArgumentParser(prog="control_plane", description=COMMAND.help)
    COMMAND.configure(parser)
    return COMMAND.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
