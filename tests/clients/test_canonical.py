"""Item 62: the canonical flags of OpenFeature's provider conformance suite, through real providers.

Each server-side client against both forms of the flags, and for what a provider tells of itself,
ready, changed, stale or failed, the one that keeps state: the web provider.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.clients.asking import Ask, asked, asking
from tests.clients.canonical import CASES, CHANGING, Backend, Form, running_backend
from tests.clients.cases import Case, Outcome
from tests.clients.page import Page

_POLL_MS = 200
_NOTICED_S = 10.0  # bound, not expectation: the file is watched, and polled every few seconds


@pytest.fixture(scope="module", params=["ours", "flagd"])
def backend(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    unused_tcp_port_factory: Callable[[], int],
) -> Iterator[Backend]:
    """The flags in one of the two forms."""
    directory = tmp_path_factory.mktemp("canonical")
    form = cast(Form, request.param)
    with running_backend(directory, unused_tcp_port_factory(), form) as running:
        yield running


@pytest.fixture(scope="module")
def canonical(client: str, backend: Backend) -> Iterator[Ask]:
    """A client of the backend."""
    with asking(client, backend.url) as ask:
        yield ask


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_62_a_canonical_flag_resolves(client: str, canonical: Ask, case: Case) -> None:
    """Value, variant, reason and error code are those of the suite; an error alone has a text."""
    expected = case.seen_by(client)
    outcome, message = canonical(case)
    assert outcome == expected
    assert type(outcome.value) is type(expected.value)
    assert bool(message) is (expected.error is not None)


def test_62_a_change_and_an_outage_are_two_things(canonical: Ask, backend: Backend) -> None:
    """A change stays over an outage, in which the default is served, and ends with a reset."""
    assert canonical(CHANGING).outcome == CHANGING.expected
    try:
        backend.change()
        assert _changed(canonical, "foo") == "bar"
        backend.stop()
        assert canonical(CHANGING).outcome == Outcome("unset", "ERROR", error="GENERAL")
        backend.restart()
        assert canonical(CHANGING).outcome.value == "bar"
        backend.reset()
        assert _changed(canonical, "bar") == "foo"
    finally:
        backend.start()


def _changed(ask: Ask, before: str) -> object:
    """Return the first value that is another one."""
    deadline = time.monotonic() + _NOTICED_S
    while (value := ask(CHANGING).outcome.value) == before:
        assert time.monotonic() < deadline, "the change was not noticed"
    return value


@pytest.fixture
def pages(page: Page, tmp_path: Path, unused_tcp_port: int) -> Iterator[Backend]:
    """The flags, for the page."""
    cors = f"--cors-origins={page.origin}"
    with running_backend(tmp_path, unused_tcp_port, "ours", cors) as running:
        yield running


async def test_62_a_page_is_told_that_flags_are_there(page: Page, pages: Backend) -> None:
    """Ready, and they are."""
    assert await page.start(pages.url, {}) == "READY"
    assert await page.said("PROVIDER_READY") == [None]
    assert (await page.ask(CHANGING)).outcome == CHANGING.expected


async def test_62_a_page_is_told_of_a_change(page: Page, pages: Backend) -> None:
    """The event names the flag, and the flag has changed."""
    await page.start(pages.url, {}, pollInterval=_POLL_MS)
    pages.change()
    await page.until(f"evaluate({json.dumps(asked(CHANGING))}).value === 'bar'")
    assert await page.said("PROVIDER_CONFIGURATION_CHANGED") == [["changing-flag"]]


async def test_62_a_page_is_told_of_an_outage(page: Page, pages: Backend) -> None:
    """Stale while nobody answers; then its values go on changing, and it is ready again."""
    await page.start(pages.url, {}, pollInterval=_POLL_MS)
    pages.stop()
    await page.until("state() === 'STALE'")
    assert await page.said("PROVIDER_STALE")
    pages.restart()
    pages.change()
    await page.until(f"evaluate({json.dumps(asked(CHANGING))}).value === 'bar'")
    # The provider 0.4.3 takes back what it said only at the next context.
    await page.change({})
    await page.until("state() === 'READY'")


async def test_62_a_page_is_told_that_nobody_answers(page: Page, unused_tcp_port: int) -> None:
    """An error at the start, and the page's defaults."""
    assert await page.start(f"http://127.0.0.1:{unused_tcp_port}", {}) == "ERROR"
    assert await page.said("PROVIDER_ERROR") == [None]
    outcome, _ = await page.ask(CHANGING)
    assert (outcome.value, outcome.reason) == ("unset", "ERROR")
