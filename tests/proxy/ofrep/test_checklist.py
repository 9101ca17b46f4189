"""docs/ofrep.md has a row for each item of the protocol's list, and each item has a test."""

import re
from collections import Counter

from tests.support.reference import DOCS, ROOT

ITEMS = range(1, 63)
_TEST = re.compile(r"^ *(?:async )?def test((?:_\d\d)+)_", re.MULTILINE)
_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)


def test_each_item_has_a_row() -> None:
    """Once, in their order."""
    rows = [int(number) for number in _ROW.findall((DOCS / "ofrep.md").read_text())]
    assert rows == list(ITEMS)


def test_each_item_has_a_test() -> None:
    """Which names it: `test_09_...`; a test of several clients names several."""
    found: Counter[int] = Counter()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if "node_modules" not in path.parts:
            for numbers in _TEST.findall(path.read_text()):
                found.update(map(int, numbers[1:].split("_")))
    assert sorted(found) == list(ITEMS)
