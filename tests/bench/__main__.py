"""`python -m tests.bench [--only NAME] [--quick]`: measures, prints each figure, then the table.

The exit status is 0 when everything worked, whatever the figures are; a measurement that fails is
told, the others go on, and the status is 1.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loadtests.usage import machine_busy_s, own_cpu_s
from tests.bench.access import measure_access
from tests.bench.control_plane import measure_api, measure_change
from tests.bench.dialects import measure_dialects, measure_fuzz
from tests.bench.engine import measure_compile, measure_evaluate
from tests.bench.fanout import measure_fanout
from tests.bench.figures import Figure, render
from tests.bench.fleet import measure_fleet
from tests.bench.front import measure_front
from tests.bench.limits import measure_limits
from tests.bench.reports import measure_reports
from tests.bench.scale import FULL, QUICK, Scale
from tests.bench.sidecar import measure_cold_start, measure_memory, measure_requests
from tests.bench.streams import measure_streams

Measure = Callable[[Scale, Path], Iterator[Figure]]

MEASUREMENTS: dict[str, Measure] = {
    "evaluate": measure_evaluate,
    "compile": measure_compile,
    "dialects": measure_dialects,
    "fuzz": measure_fuzz,
    "front": measure_front,
    "requests": measure_requests,
    "memory": measure_memory,
    "streams": measure_streams,
    "fan-out": measure_fanout,
    "cold-start": measure_cold_start,
    "change": measure_change,
    "control-plane": measure_api,
    "limits": measure_limits,
    "access": measure_access,
    "reports": measure_reports,
    "fleet": measure_fleet,
}

ON_REQUEST = frozenset({"fuzz", "front"})
"""What takes minutes to show that nothing fails, and is no figure: only when it is named."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what was asked for and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=sorted(MEASUREMENTS), help="one of them; may be repeated"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that it works, not how fast"
    )
    arguments = parser.parse_args(argv)
    wanted = arguments.only or MEASUREMENTS.keys() - ON_REQUEST
    chosen = [name for name in MEASUREMENTS if name in wanted]
    scale = QUICK if arguments.quick else FULL
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {cores} cores, load before the start {busy:.1f}")
    figures: list[Figure] = []
    failed = [name for name in chosen if not _measure(name, scale, figures)]
    print(f"\n{render(figures)}")
    if arguments.quick:
        print("\n--quick: these show that it works, not how fast.")
    for name in failed:
        print(f"\n{name} failed", file=sys.stderr)
    return 1 if failed else 0


def _measure(name: str, scale: Scale, figures: list[Figure]) -> bool:
    """Add the figures of one measurement; return whether it worked."""
    print(f"\n{name}", flush=True)
    start_s, busy_s, own_s = time.perf_counter(), machine_busy_s(), own_cpu_s()
    try:
        with tempfile.TemporaryDirectory(prefix="matrixflag-bench-") as directory:
            for figure in MEASUREMENTS[name](scale, Path(directory)):
                print(f"  {figure.what}: {figure.measured}", flush=True)
                figures.append(figure)
    except Exception:
        traceback.print_exc()
        return False
    others_s = (machine_busy_s() - busy_s) - (own_cpu_s() - own_s)
    cores = max(0.0, others_s / (time.perf_counter() - start_s))
    print(f"  (other programs used {cores:.1f} cores meanwhile)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
