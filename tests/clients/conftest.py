"""A sidecar that serves `cases.DEFINITIONS` from a file which tests may replace."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.cases import DEFINITIONS
from tests.support.processes import running_sidecar


@dataclass(frozen=True)
class Served:
    """A running sidecar and the file it serves."""

    url: str
    admin: str
    file: Path

    def write(self, definitions: dict[str, Any]) -> None:
        """Replace the definitions as editors and deployments do: a new file takes the name."""
        write_definitions(self.file, definitions)


def write_definitions(file: Path, definitions: dict[str, Any]) -> None:
    """Put definitions into a file at once, so that nobody reads half of them."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(definitions))
    os.replace(new, file)


@contextmanager
def _serving(directory: Path) -> Iterator[Served]:
    file = directory / "flags.json"
    write_definitions(file, DEFINITIONS)
    with running_sidecar(directory, "--snapshot", file) as sidecar:
        yield Served(sidecar.ofrep, sidecar.admin, file)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The sidecar for all tests that change nothing."""
    with _serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def changeable(tmp_path: Path) -> Iterator[Served]:
    """A sidecar of the test's own, whose file it may replace."""
    with _serving(tmp_path) as running:
        yield running
