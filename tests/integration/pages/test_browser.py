"""The documentation pages in a real browser: they show the API, and nothing is refused or missing.

Chromium runs headless on the pages of a real control plane. What it says on its console, policy
violations and failed loads among it, comes out on stderr; the page as it stands after its scripts
comes out as text, and as a picture for people in the test's directory.
"""

import asyncio
import re
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.tools import require

WAIT_S = 90


async def visit(url: str, directory: Path, *flags: str) -> tuple[str, str]:
    """Return the page's text as it stands after its scripts, and what the console said."""
    process = await asyncio.create_subprocess_exec(
        require("chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={directory / 'profile'}",
        "--window-size=1280,1600",
        "--enable-logging=stderr",
        # Time of the page's own: scripts run as long as they have something to do.
        "--virtual-time-budget=20000",
        *flags,
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WAIT_S):
            page, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    console = [line for line in log.decode(errors="replace").splitlines() if "CONSOLE" in line]
    return page.decode(errors="replace"), "\n".join(console)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/docs", ("Matrix Flag", "/api/v1/keys", "Authorize", "opblock-summary")),
        ("/redoc", ("Matrix Flag", "/api/v1/keys", "adminToken", "menu-content")),
    ],
)
async def test_a_page_shows_the_api_and_breaks_no_policy(
    api: Api, tmp_path: Path, path: str, shown: tuple[str, ...]
) -> None:
    """Every word is there after the scripts ran, and the console is silent."""
    page, console = await visit(api.url + path, tmp_path, "--dump-dom")
    for words in shown:
        assert words in page
    assert console == ""
    assert not re.findall(r'(?:src|href)="https?://(?!127\.0\.0\.1)[^"]*\.(?:js|css|svg|png)', page)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_can_be_looked_at(api: Api, tmp_path: Path, path: str) -> None:
    """The picture is not empty: text and colours compress worse than a blank page."""
    picture = tmp_path / "page.png"
    await visit(api.url + path, tmp_path, f"--screenshot={picture}")
    assert picture.stat().st_size > 30_000
