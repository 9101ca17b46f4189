"""Sidecars for clients, and the server-side clients, each with the number of its conformance item.

Those in Go and Java need a compiler and are marked `toolchain`: `make test-clients` asks for them.
"""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.asking import Ask, asking
from tests.clients.cases import DEFINITIONS
from tests.clients.page import Page, running_page
from tests.support.processes import running_sidecar


@dataclass(frozen=True)
class Served:
    """A running sidecar, the file it serves, and its process id."""

    url: str
    admin: str
    file: Path
    pid: int

    def write(self, definitions: dict[str, Any]) -> None:
        """Replace the definitions as editors and deployments do: a new file takes the name."""
        write_definitions(self.file, definitions)


def write_definitions(file: Path, definitions: dict[str, Any]) -> None:
    """Put definitions into a file at once, so that nobody reads half of them."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(definitions))
    os.replace(new, file)


@contextmanager
def serving(
    directory: Path, *arguments: str, definitions: dict[str, Any] | None = None
) -> Iterator[Served]:
    """Run a sidecar that serves definitions, those of the cases unless others are given."""
    file = directory / "flags.json"
    write_definitions(file, definitions or DEFINITIONS)
    with running_sidecar(directory, "--snapshot", file, *arguments) as sidecar:
        yield Served(sidecar.ofrep, sidecar.admin, file, sidecar.pid)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The sidecar for all tests that change nothing."""
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def changeable(tmp_path: Path) -> Iterator[Served]:
    """A sidecar of the test's own, whose file it may replace."""
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("python", id="58-python"),
        pytest.param("node", id="59-node"),
        pytest.param("go", id="61-go", marks=pytest.mark.toolchain),
        pytest.param("java", id="61-java", marks=pytest.mark.toolchain),
    ],
)
def client(request: pytest.FixtureRequest) -> str:
    """The name of a server-side client."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def ask(client: str, served: Served) -> Iterator[Ask]:
    """A client of the sidecar that nothing changes."""
    with asking(client, served.url) as running:
        yield running


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A page with the web provider, of another origin than any sidecar's."""
    async with running_page(tmp_path) as running:
        yield running
