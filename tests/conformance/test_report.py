"""The page that says what was run of each suite is of the cases that there are."""

import re

import pytest

from tests.conformance.harness import suites_folder
from tests.conformance.report import PAGE, ROWS, SUITES, suites_help


def test_every_case_of_a_suite_is_counted_on_the_page(request: pytest.FixtureRequest) -> None:
    """And all of them passed, or the page was not written."""
    if suites_folder() is None:
        pytest.skip("without the data of the suites; `make suites-help` says how to get it")
    session = request.session
    names = [(item.module.__name__, item.name.partition("[")[0]) for item in session.items]
    text = PAGE.read_text()
    for row in ROWS:
        module = f"tests.conformance.{row.module}"
        count = sum(1 for name in names if name in {(module, test) for test in row.tests})
        if count == 0:
            continue  # this run is of other files
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
    """Repository, commit and path."""
    text = suites_help()
    for suite in SUITES:
        assert suite.folder in text
        assert suite.commit in text
        assert suite.repository in text
