"""Thirty seconds of load against a fresh `matrixflag dev`; what `make load` runs.

Everything is on free ports and in a temporary directory, so that it disturbs nothing that runs,
and only what was started here is ended. It fails when any answer was wrong, when a kind of request
was never made, or when the servers did not stop as they should: a run that tested nothing is no
success.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import ROOT, NotStarted, running_dev

__all__ = ["EXPECTED", "main", "problems_of"]

_LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
_GRACE_S = 60.0  # beyond the run itself: start, stop, summary
_TOTAL = "Aggregated"  # locust's own row over all others
EXPECTED = (
    "ofrep: one flag",
    "ofrep: all flags",
    "ofrep: all flags again",
    "ofrep: unknown flag",
    "api: read a flag",
    "api: list flags",
    "api: write a flag",
    "api: written to evaluated",
)
"""The rows a run must have. Reading again with an ETag is left to chance in a short one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the load and return the exit status: 0 when every kind of request was made and right."""
    arguments = _arguments(argv)
    with tempfile.TemporaryDirectory(prefix="matrixflag-load-") as name:
        directory = Path(name)
        try:
            with running_dev(directory / "data"):
                status = _locust(directory, arguments)
        except (NotStarted, TimeoutError) as error:
            print(f"load: matrixflag dev: {error}", file=sys.stderr)
            return 1
        problems = problems_of(directory / "load_stats.csv", status)
    for problem in problems:
        print(f"load: {problem}", file=sys.stderr)
    print("load: FAILED" if problems else "load: every answer was right")
    return 1 if problems else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="how long [30]")
    parser.add_argument(
        "--users", type=int, default=18, help="how many; one in nine writes, the others evaluate"
    )
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.seconds <= 3600:
        parser.error("--seconds: from 1 to 3600")
    if not 9 <= arguments.users <= 1000:
        parser.error("--users: from 9, the fewest with one that writes, to 1000")
    return arguments


def _locust(directory: Path, arguments: argparse.Namespace) -> int:
    """Run locust to its end and return its exit status; the summary goes to standard output."""
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless"),
        *("--users", str(arguments.users), "--spawn-rate", str(arguments.users)),
        *("--run-time", f"{arguments.seconds}s", "--stop-timeout", "10"),
        *("--only-summary", "--csv", str(directory / "load")),
        *("--loglevel", "WARNING", "--dev-json", str(directory / "data" / "dev.json")),
    ]
    try:
        run = subprocess.run(command, cwd=ROOT, timeout=arguments.seconds + _GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        print("load: locust did not end", file=sys.stderr)
        return 1
    return run.returncode


def problems_of(statistics: Path, status: int) -> list[str]:
    """Return why a run is no success."""
    problems = [f"locust ended with status {status}"] if status else []
    try:
        with statistics.open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row["Name"] != _TOTAL]
    except OSError:
        return [*problems, "locust left no statistics"]
    made = {row["Name"]: int(row["Request Count"]) for row in rows}
    wrong = {row["Name"]: int(row["Failure Count"]) for row in rows}
    problems += [
        f"nothing was requested of kind {name!r}" for name in EXPECTED if not made.get(name)
    ]
    return [
        *problems,
        *(f"{name}: {count} wrong answers" for name, count in wrong.items() if count),
    ]


if __name__ == "__main__":
    sys.exit(main())
