"""The cases of other systems' suites, played without pytest, and what was asked of the engine.

The modules of `tests/conformance` are loaded anew, so that nothing in them is compiled already, and
their tests called with their own parameters. What they ask goes by two places: flags are evaluated
by `CompiledFlags`, definitions read and translated by a module's `DIALECT`.
"""

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from proxy.engine.answers import Answer
from proxy.engine.dialects.model import Dialect, Imported, Translation
from tests.conformance.harness import CompiledFlags
from tests.conformance.report import ROWS

__all__ = ["SYSTEMS", "Definition", "Document", "Evaluation", "Played", "play", "why_not"]

SYSTEMS = ("flagd", "unleash", "growthbook", "launchdarkly", "goff")

_FOLDER = Path(__file__).parent.parent / "conformance"


class Evaluation(NamedTuple):
    """One evaluation of a compiled flag."""

    evaluate: Callable[[dict[str, Any], int], object]
    context: dict[str, Any]
    now_ms: int


class Definition(NamedTuple):
    """One flag as it was given to a translator."""

    key: str
    definition: Mapping[str, Any]
    options: Mapping[str, Any]


class Document(NamedTuple):
    """One file as it was given to a reader."""

    document: Any
    options: Mapping[str, Any]


class Played(NamedTuple):
    """What a suite asked."""

    dialect: Dialect
    cases: int
    evaluations: list[Evaluation]
    definitions: list[Definition]
    documents: list[Document]


def why_not() -> str | None:
    """Return why suites cannot be played here, None when they can."""
    folder = os.environ.get("MATRIXFLAG_SUITES")
    if not folder:
        return "MATRIXFLAG_SUITES names no folder; `make suites-help` says how to get the suites"
    return None if Path(folder).is_dir() else f"there is no folder {folder}"


def play(system: str) -> Played:
    """Play all synchronous cases of a system's suite; raises AssertionError for one that fails."""
    module = _fresh(system)
    own: Dialect = module.DIALECT
    played = Played(own, 0, [], [], [])

    def read(document: Any, options: Mapping[str, Any]) -> Imported:
        played.documents.append(Document(document, options))
        return own.read(document, options)

    def translate(
        key: str, definition: Mapping[str, Any], options: Mapping[str, Any], enabled: bool
    ) -> Translation:
        played.definitions.append(Definition(key, definition, options))
        return own.translate(key, definition, options, enabled)

    def evaluate(
        flags: CompiledFlags, key: str, context: dict[str, Any], now_ms: int = 0
    ) -> Answer:
        flag = flags.flags.get(key)
        if flag is not None and not isinstance(flag, Answer):
            played.evaluations.append(Evaluation(flag.function, context, now_ms))
        return plain(flags, key, context, now_ms)

    plain = CompiledFlags.evaluate
    module.DIALECT = own._replace(read=read, translate=translate)
    CompiledFlags.evaluate = evaluate  # type: ignore[method-assign]
    try:
        names = {test for row in ROWS if row.module == f"test_{system}" for test in row.tests}
        cases = sum(1 for name in sorted(names) for _ in _calls(getattr(module, name)))
    finally:
        CompiledFlags.evaluate = plain  # type: ignore[method-assign]
    return played._replace(cases=cases)


def _calls(test: Callable[..., object]) -> Iterator[None]:
    """Call a test with each of its parameters; those that need an event loop are left out."""
    if inspect.iscoroutinefunction(test):
        return
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    sets = []
    for mark in marks:
        names, values = mark.args
        names = names.split(",") if isinstance(names, str) else names
        sets.append([dict(zip(names, _values(value, names), strict=True)) for value in values])
    for chosen in product(*sets):
        test(**{name: value for part in chosen for name, value in part.items()})
        yield


def _values(value: Any, names: Any) -> Any:
    if hasattr(value, "marks"):  # a `pytest.param`
        return value.values
    return value if len(names) > 1 else (value,)


def _fresh(system: str) -> Any:
    """Return the module of a suite, loaded anew."""
    name = f"tests.bench.played_{system}"
    spec = importlib.util.spec_from_file_location(name, _FOLDER / f"test_{system}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and named tuples look for their module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module
