"""`matrixflag keys`: makes a key that signs snapshots, or tells the public side of one.

Printed as the lines of an environment file: the private line is the control plane's, and nobody
else's; the public one is for sidecars.
"""

import argparse
import os
import sys

from control_plane.publishing.signing import SigningKey, new_signing_key
from control_plane.settings import Settings
from proxy.contract.settings import SettingsError

__all__ = ["COMMAND"]

_PRIVATE, _PUBLIC = "MATRIXFLAG_SIGNING_KEYS", "MATRIXFLAG_VERIFY_KEYS"


class _Command:
    """`matrixflag keys`."""

    help = "make keys that sign snapshots, and tell their public side"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare what can be asked for."""
        parser.add_argument(
            "what",
            choices=("signing", "public"),
            help="signing: make a new key, and print it with its public side; public: print the"
            f" public side of the keys that {_PRIVATE} or {_PRIVATE}_FILE hold",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print keys to stdout."""
        if args.what == "signing":
            key = new_signing_key()
            sys.stdout.write(f"{_PRIVATE}={key.private()}\n")
            _print_public((key,))
            return 0
        names = (_PRIVATE, f"{_PRIVATE}_FILE")
        given = {name: os.environ[name] for name in names if os.environ.get(name)}
        try:
            keys = Settings.load(given, {}).signing_keys
        except SettingsError as error:
            for problem in error.problems:
                sys.stderr.write(f"matrixflag keys: {problem}\n")
            return 2
        if not keys:
            sys.stderr.write(f"matrixflag keys: set {' or '.join(names)} to the private keys\n")
            return 2
        _print_public(keys)
        return 0


def _print_public(keys: tuple[SigningKey, ...]) -> None:
    for key in keys:
        sys.stdout.write(f"# key id {key.id}\n")
    sys.stdout.write(f"{_PUBLIC}={','.join(key.public for key in keys)}\n")


COMMAND = _Command()
