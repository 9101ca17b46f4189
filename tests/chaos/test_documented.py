"""docs/reliability.md names for each promise the tests that inject its failure, and they exist."""

import re

from tests.support.reference import DOCS, ROOT

_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
_ROW = re.compile(
    r"^\| (?!-|promise|fault \||task \||process \||control plane \||sidecar \||`)(.*) \|$", re.M
)
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
    for path in sorted((ROOT / "tests/chaos").glob("test_*.py")):
        if path.name != "test_documented.py":
            for function in sorted(_defined(f"chaos/{path.name}")):
                assert (f"chaos/{path.name}", function) in named, f"{path.name}::{function}"
