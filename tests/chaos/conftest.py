"""At the end of a run: the figures, and the seed that makes the same run again."""

import statistics
from pathlib import Path

import pytest

from tests.chaos.figures import FIGURES
from tests.chaos.long import LONG, SEED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give faults their time: what they wait for has a limit of its own."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(3600 if LONG else 300))


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
