"""Feature files of Gherkin as cases: a scenario, or one for each row of an outline's tables.

No more of the language than the suites use: background, tags, outlines, tables of steps. Text in a
table is as it stands there, but for `\\|`, which is a bar.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Case", "Step", "cases"]


class Step(NamedTuple):
    """What a step says, without its keyword, and its table, the first row of which are names."""

    text: str
    table: tuple[tuple[str, ...], ...] = ()


class Case(NamedTuple):
    """One scenario, with the steps of the background first."""

    id: str
    steps: tuple[Step, ...]
    tags: frozenset[str]


_KEYWORD = re.compile(r"(Given|When|Then|And|But)\s+(.*)")
_CELLS = re.compile(r"(?<!\\)\|")


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace(r"\|", "|") for cell in _CELLS.split(line)[1:-1])


class _Examples(NamedTuple):
    tags: frozenset[str]
    rows: list[tuple[str, ...]]


class _Scenario(NamedTuple):
    name: str
    tags: frozenset[str]
    steps: list[Step]
    examples: list[_Examples]


def _scenarios(text: str) -> Iterator[_Scenario]:
    """Yield each scenario; the background is the first, named so."""
    tags: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    scenario: _Scenario | None = None
    rows: list[tuple[str, ...]] | None = None
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            tags |= frozenset(line.split())
        elif line.startswith("Feature:"):
            shared, tags = tags, frozenset()
        elif line.startswith(("Scenario", "Background")):
            if scenario is not None:
                yield scenario
            name = line.partition(":")[2].strip() or "background"
            scenario, tags, rows = _Scenario(name, shared | tags, [], []), frozenset(), None
        elif scenario is None:
            continue  # the description of the feature
        elif line.startswith("Examples"):
            rows = []
            scenario.examples.append(_Examples(tags, rows))
            tags = frozenset()
        elif line.startswith("|") and rows is not None:
            rows.append(_cells(line))
        elif line.startswith("|"):
            last = scenario.steps[-1]
            scenario.steps[-1] = last._replace(table=(*last.table, _cells(line)))
        elif match := _KEYWORD.match(line):
            scenario.steps.append(Step(match[2]))
    if scenario is not None:
        yield scenario


def cases(path: Path) -> Iterator[Case]:
    """Yield the cases of a feature file, in order; ids are unique within it."""
    background: list[Step] = []
    seen: dict[str, int] = {}

    def case(name: str, steps: list[Step], tags: frozenset[str]) -> Case:
        number = seen[name] = seen.get(name, 0) + 1
        unique = name if number == 1 else f"{name} ({number})"
        return Case(f"{path.stem}: {unique}", (*background, *steps), tags)

    for scenario in _scenarios(path.read_text(encoding="utf-8")):
        if scenario.name == "background":
            background = scenario.steps
            continue
        if not scenario.examples:
            yield case(scenario.name, scenario.steps, scenario.tags)
        for examples in scenario.examples:
            names, *rows = examples.rows
            for row in rows:
                values = dict(zip(names, row, strict=True))
                steps = [Step(_filled(s.text, values), s.table) for s in scenario.steps]
                shown = ", ".join(value[:40] for value in row)
                yield case(f"{scenario.name} [{shown}]", steps, scenario.tags | examples.tags)


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"<([^<>]+)>", lambda match: values.get(match[1], match[0]), text)
