"""Writes docs/conformance.md: what was run of each suite, and how many cases passed.

    python -m tests.conformance.report          # runs the suites, writes the page
    python -m tests.conformance.report --show   # runs them, prints the table
    python -m tests.conformance.report --help-suites

A part without data fails such a run, which else would say nothing was wrong with nothing. A test
holds the page against the cases there are, so that a suite that grows or shrinks shows.
"""

import argparse
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree as Xml
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.conformance.harness import suites_folder

__all__ = ["PAGE", "ROOT", "ROWS", "SUITES", "Row", "render", "suites_help"]

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "conformance.md"


class Suite(NamedTuple):
    """Where the data of a suite comes from; `more` is what has to be known besides."""

    folder: str
    repository: str
    version: str
    commit: str
    paths: str
    more: str = ""


class Row(NamedTuple):
    """One part of a suite: the tests of a module that run it."""

    suite: str
    part: str
    module: str
    tests: tuple[str, ...]


SUITES = (
    Suite(
        "flagd-testbed",
        "open-feature/flagd-testbed",
        "3.9.0",
        "82ba89ec8db498fa51368e558e4d87642d9e93c4",
        "evaluator flags gherkin version.txt",
    ),
    Suite(
        "unleash-client-specification",
        "Unleash/client-specification",
        "6.1.0",
        "931b695b2a9911e1ab46a03516566e8da09dd6ec",
        "specifications",
    ),
    Suite(
        "growthbook-sdk-js",
        "growthbook/growthbook",
        "0.8.0",
        "8f1db4456915a8e7b7faf23d5632ca7219d2f469",
        "packages/sdk-js/test/cases.json",
    ),
    Suite(
        "launchdarkly-sdk-test-harness",
        "launchdarkly/sdk-test-harness",
        "2.41.0",
        "713b6225a331c4362aa543f02a128238a79b40ae",
        "data/data-files",
        "Its published bucket values are not in it: they are wanted in launchdarkly_buckets.json,"
        " in FOLDER/../vectors or the folder that MATRIXFLAG_VECTORS names.",
    ),
    Suite(
        "go-feature-flag",
        "thomaspoignant/go-feature-flag",
        "",
        "3c7c30db87221c5a981ac5e3b9995a321f83cd99",
        "cmd/relayproxy/testdata/ofrep cmd/relayproxy/testdata/goff",
        "Its tables are Go code (*_test.go in modules/core/flag). They are wanted as JSON in"
        " FOLDER/go-feature-flag/derived/goff_cases.json: for each test its rows, as"
        " tests/conformance/test_goff.py reads them.",
    ),
)

ROWS = (
    Row("flagd-testbed", "evaluator", "test_flagd", ("test_evaluator",)),
    Row("flagd-testbed", "targeting", "test_flagd", ("test_targeting",)),
    Row(
        "flagd-testbed",
        "evaluation, disabled, metadata",
        "test_flagd",
        ("test_evaluation", "test_disabled", "test_metadata"),
    ),
    Row(
        "unleash-client-specification",
        "isEnabled and getVariant",
        "test_unleash",
        ("test_is_enabled", "test_get_variant"),
    ),
    Row(
        "growthbook-sdk-js",
        "all sections a server can be asked",
        "test_growthbook",
        (
            *("test_feature", "test_contextual_bandit", "test_sticky_bucket", "test_run"),
            *("test_eval_condition", "test_hash", "test_in_namespace", "test_choose_variation"),
            *("test_get_bucket_range", "test_get_equal_weights"),
        ),
    ),
    Row(
        "launchdarkly-sdk-test-harness",
        "server-side data files",
        "test_launchdarkly",
        ("test_server_side",),
    ),
    Row(
        "launchdarkly-sdk-test-harness",
        "client-side data files",
        "test_launchdarkly",
        ("test_client_side",),
    ),
    Row(
        "go-feature-flag",
        "cases of its Go table tests",
        "test_goff",
        (
            *("test_values", "test_bucketing_keys", "test_bucketing_keys_that_are_missing"),
            *("test_values_of_an_empty_context", "test_rules", "test_rules_without_a_key"),
            "test_queries",
        ),
    ),
    Row("go-feature-flag", "OFREP fixtures, over HTTP", "test_goff", ("test_ofrep",)),
)

_HEAD = """# Conformance

Definitions of five other systems are evaluated as those systems do. Each is held against its own
published test data, one test a case, through the compiler and the evaluator that serve our own
flags. `make conformance` runs all of it; the data is not in this repository, `make suites-help`
says where it is. This page is written by `python -m tests.conformance.report`.

| suite | version | part | passed | of |
|---|---|---|---|---|
"""

_FOOT = """
LaunchDarkly's published bucket values, and what the suites do not have, are tested besides. Cases
that are not run, each with its reason, are named in the test module of their suite. What differs
for somebody who moves is on the page of each system under [docs/migrate](migrate).
"""


def suites_help() -> str:
    """Return where the data of the suites is to be had, with the commands that get it."""
    lines = [
        "The data of other systems' suites is not in this repository. Choose a folder, get each at",
        "its commit, and name the folder:",
        "",
        "  export FOLDER=...",
        "  MATRIXFLAG_SUITES=$FOLDER make conformance",
    ]
    for suite in SUITES:
        here = f"$FOLDER/{suite.folder}"
        source = f"https://github.com/{suite.repository}"
        version = f" {suite.version}" if suite.version else ""
        lines += [
            "",
            f"{suite.repository}{version}",
            f"  git clone --no-checkout --filter=blob:none {source} {here}",
            f"  git -C {here} checkout {suite.commit} -- {suite.paths}",
        ]
        lines += textwrap.wrap(suite.more, 96, initial_indent="  # ", subsequent_indent="  # ")
    return "\n".join(lines) + "\n"


def render(passed: Counter[Row], total: Counter[Row]) -> str:
    """Return the page."""
    versions = {suite.folder: suite.version or suite.commit[:12] for suite in SUITES}
    rows = [
        f"| {row.suite} | {versions[row.suite]} | {row.part} | {passed[row]} | {total[row]} |"
        for row in ROWS
    ]
    return _HEAD + "\n".join(rows) + "\n" + _FOOT


def _run() -> tuple[Counter[Row], Counter[Row], int]:
    """Run the suites; return what passed, what there is, and the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}"]
        command += ["tests/conformance", "--ignore=tests/conformance/test_report.py"]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        cases = list(Xml.parse(report).iter("testcase"))  # noqa: S314 - what pytest just wrote
    of = {(row.module, test): row for row in ROWS for test in row.tests}
    passed: Counter[Row] = Counter()
    total: Counter[Row] = Counter()
    for case in cases:
        module = case.get("classname", "").rpartition(".")[2]
        row = of.get((module, case.get("name", "").partition("[")[0]))
        if row is not None:
            total[row] += 1
            passed[row] += not any(case.find(tag) is not None for tag in ("failure", "skipped"))
    return passed, total, status


def main() -> int:
    """Do what was asked for and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.report")
    parser.add_argument("--help-suites", action="store_true", help="where the data is to be had")
    parser.add_argument("--show", action="store_true", help="print the table, write no page")
    arguments = parser.parse_args()
    if arguments.help_suites:
        sys.stdout.write(suites_help())
        return 0
    if suites_folder() is None:
        sys.stderr.write("MATRIXFLAG_SUITES names no folder; `make suites-help` says how to get\n")
        sys.stderr.write("the suites that it is to have\n")
        return 2
    passed, total, status = _run()
    page = render(passed, total)
    if arguments.show:
        sys.stdout.write("\n" + page[page.index("| suite") : page.index("\nLaunchDarkly's")])
    empty = [row for row in ROWS if not total[row]]
    for row in empty:
        sys.stderr.write(f"{row.suite}, {row.part}: no case was run, see `make suites-help`\n")
    if empty:
        return status or 1
    if not arguments.show:
        PAGE.write_text(page)
    return status


if __name__ == "__main__":
    sys.exit(main())
