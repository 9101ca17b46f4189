"""docs/reliability.md names for each promise the tests that inject its failure, and they exist."""

import re

from tests.support.reference import DOCS, ROOT

_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
_ROW = re.compile(
    r"^\| (?!-|promise|fault \||task \||process \||control plane \||sidecar \||`)(.*) \|$", re.M
)
_FAIL_OVERS = ("integration/redis/test_sentinel.py", "integration/redis/test_cluster.py")
_PAGE = (DOCS / "reliability.md").read_text()


def _defined(path: str) -> set[str]:
    text = (ROOT / "tests" / path).read_text()
    return set(re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE))


def test_each_promise_has_a_test() -> None:
    """No row goes without, and what is named is there: a test that is renamed takes it along."""
    rows = _ROW.findall(_PAGE)
    assert len(rows) > 40
    for row in rows:
        named = _TEST.findall(row.rpartition(" | ")[2])
        assert named, f"without a test: {row}"
        for path, function in named:
            assert function in _defined(path), f"{path}::{function} is not there: {row[:80]}"


def test_each_fault_is_in_the_page() -> None:
    """Whoever adds a test of a fault says what it promises."""
    named = set(_TEST.findall(_PAGE))
    paths = [
        *(ROOT / "tests/chaos").glob("test_*.py"),
        *map((ROOT / "tests").joinpath, _FAIL_OVERS),
    ]
    for path in sorted(paths):
        if path.name != "test_documented.py":
            name = path.relative_to(ROOT / "tests").as_posix()
            for function in sorted(_defined(name)):
                assert (name, function) in named, f"{name}::{function}"


def test_each_row_fits_its_table() -> None:
    """Else a page shows it somewhere else; and no promise stands there twice."""
    columns = 0
    promises = set()
    for line in _PAGE.splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        cells = line.count("|")
        columns = columns or cells
        assert cells == columns or set(line) == set("|-"), line[:80]
        if _ROW.fullmatch(line):
            promise = line.split(" | ")[0]
            assert promise not in promises, promise
            promises.add(promise)
