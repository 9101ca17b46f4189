"""Writes the flags of a scenario to standard output, in our form or another system's.

    python -m loadtests.flags SCENARIO [--format native|flagd|goff|unleash|flagsmith] > FILE

Servers of several systems that were started with these can be compared (`loadtests.compare`).
"""

import argparse
import json
import sys
from collections.abc import Sequence

from loadtests.formats import FORMATS
from loadtests.scenarios import SCENARIOS

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the flags and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.flags",
        description="Write the flags of a scenario as JSON to standard output.",
        epilog="scenarios:\n" + "\n".join(f"  {s.name:18}{s.what}" for s in SCENARIOS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO")
    parser.add_argument("--format", choices=FORMATS, default="native", help="whose [native]")
    arguments = parser.parse_args(argv)
    flags = SCENARIOS[arguments.scenario].flags()
    print(json.dumps(FORMATS[arguments.format](flags), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
