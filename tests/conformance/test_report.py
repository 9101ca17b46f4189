"""The page that says what was run of each suite is of the cases that there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.harness import suite
from tests.conformance.report import PAGE, ROOT, ROWS, SUITES, suites_help


def test_every_case_of_a_suite_is_counted_on_the_page(request: pytest.FixtureRequest) -> None:
    """And all of them passed, or the page was not written."""
    for each in SUITES:
        suite(each.folder)  # skips without its data, and fails in CI
    session = request.session
    names = [(item.module.__name__, item.name.partition("[")[0]) for item in session.items]
    text = PAGE.read_text()
    for row in ROWS:
        module = f"tests.conformance.{row.module}"
        if module not in {name for name, _ in names}:
            continue  # this run is of other files
        count = sum(1 for name in names if name in {(module, test) for test in row.tests})
        line = rf"\| {re.escape(row.suite)} \| [^|]+ \| {re.escape(row.part)} \| (\d+) \| (\d+) \|"
        found = re.search(line, text)
        assert found is not None, row
        assert {int(found[1]), int(found[2])} == {count}, row


def test_what_is_asked_of_us_is_there() -> None:
    """The numbers of cases that the other systems publish."""
    totals = {"evaluator": 140, "targeting": 245, "isEnabled and getVariant": 279}
    totals |= {"all sections a server can be asked": 487, "server-side data files": 728}
    totals |= {"cases of its Go table tests": 109}
    text = PAGE.read_text()
    for part, total in totals.items():
        assert f"| {part} | {total} | {total} |" in text


def test_the_help_names_a_place_for_each_suite() -> None:
    """Repository, commit and path, in commands that get them."""
    text = suites_help()
    for each in SUITES:
        source = f"https://github.com/{each.repository} $FOLDER/{each.folder}\n"
        assert source in text
        assert f"checkout {each.commit} -- {each.paths}\n" in text


@pytest.mark.parametrize("folder", [None, "empty"])
def test_a_run_of_nothing_fails(folder: str | None, tmp_path: Path) -> None:
    """`make conformance` without data says what is missing, and is no success."""
    environment = {name: value for name, value in os.environ.items() if "MATRIXFLAG" not in name}
    if folder is not None:
        environment["MATRIXFLAG_SUITES"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.conformance.report", "--show"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode > 0
    assert "make suites-help" in done.stderr
    assert ("flagd-testbed, evaluator: no case was run" in done.stderr) is (folder is not None)
