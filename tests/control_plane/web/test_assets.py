"""Tests of the pages' files: as released, complete, and sent so that they are sent once."""

import gzip
import re
from hashlib import sha256
from pathlib import Path

import pytest

import control_plane.web
from control_plane.web.assets import Asset, Assets
from tests.support.api import Api

DIRECTORY = Path(control_plane.web.__file__).parent / "assets"
VENDORED = (DIRECTORY / "VENDORED.md").read_text()
SUMS = dict(re.findall(r"\| ([0-9a-f]{64}) \| (\S+) \|", VENDORED))


def test_released_files_are_unchanged_and_have_their_licences() -> None:
    """Whoever audits them compares with the release."""
    found = {str(p.relative_to(DIRECTORY)): p for p in DIRECTORY.rglob("*/*")}
    assert set(SUMS.values()) == set(found)
    for digest, name in SUMS.items():
        assert sha256(found[name].read_bytes()).hexdigest() == digest, name
    assert {"swagger-ui/LICENSE", "swagger-ui/NOTICE", "redoc/LICENSE"} <= set(found)


async def test_no_file_names_another_origin_to_load_from() -> None:
    """Redoc's logo is the one thing that would be."""
    redoc = await Assets().get("redoc/redoc.standalone.js")
    assert redoc is not None
    assert b"cdn.redoc" not in redoc.body
    assert redoc.content_type.startswith("text/javascript")


@pytest.mark.parametrize("name", ["VENDORED.md", "../pages.py", "redoc/LICENSE", "", "docs.js/"])
async def test_only_what_pages_need_is_served(api: Api, name: str) -> None:
    """A list of names, so no path leads out."""
    assert await Assets().get(name) is None
    path = "/docs/assets/" + name.replace("..", "%2e%2e")
    assert (await api.ask("GET", path, token=None)).status == 404


async def test_files_are_sent_compressed_and_once(api: Api) -> None:
    """1.7 MB otherwise, at every visit."""
    path = "/docs/assets/swagger-ui/swagger-ui-bundle.js"
    packed = await api.ask("GET", path, token=None, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    plain = await api.ask("GET", path, token=None, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    tag = {"If-None-Match": plain.headers["ETag"]}
    assert (await api.ask("GET", path, token=None, headers=tag)).status == 304


def test_equal_content_has_an_equal_tag() -> None:
    """On every replica and after every restart."""
    assert Asset.of("text/css", b"a" * 2000) == Asset.of("text/css", b"a" * 2000)
    assert Asset.of("text/css", b"a").etag != Asset.of("text/css", b"b").etag
