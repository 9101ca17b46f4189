"""At the end of a run: the figures, and the seed that makes the same run again."""

import statistics

import pytest

from tests.chaos.figures import FIGURES
from tests.chaos.long import LONG, SEED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured; under xdist each worker has its own, and prints nothing."""
    if not FIGURES:
        return
    say = terminalreporter.write_line
    say(f"chaos: {'long' if LONG else 'short'} form, MATRIXFLAG_CHAOS_SEED={SEED}")
    say("| figure | median | worst | times |")
    say("|---|---|---|---|")
    for what, values in sorted(FIGURES.items()):
        say(f"| {what} | {statistics.median(values):.2f} | {max(values):.2f} | {len(values)} |")
