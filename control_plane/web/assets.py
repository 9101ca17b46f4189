"""Files that pages need: read once, compressed once, told apart by content.

`assets/` holds released files of Swagger UI and Redoc as they were published, each with its
licence (`assets/VENDORED.md`), and a few of our own. One change is made to them, when they are
read: Redoc's logo is at another origin, which the pages' policy forbids and nobody here wants
asked, so its address is replaced by one that has no picture.
"""

import asyncio
import gzip
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from aiohttp import hdrs, web

from control_plane.web.respond import not_modified

__all__ = ["Asset", "Assets", "send"]

_DIRECTORY = Path(__file__).parent / "assets"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FILES = (
    "docs.js",
    "pages.css",
    "favicon.svg",
    "swagger-ui/swagger-ui-bundle.js",
    "swagger-ui/swagger-ui.css",
    "redoc/redoc.standalone.js",
)
_FOREIGN = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_NOTHING = b"data:,"  # Redoc leaves the picture out when it cannot be shown
_SMALL_BYTES = 1_000  # below it, compressing saves no packet


class Asset(NamedTuple):
    """A file ready to be sent."""

    content_type: str
    body: bytes
    packed: bytes | None
    etag: str

    @classmethod
    def of(cls, content_type: str, body: bytes) -> "Asset":
        """Return a body with its compressed form and its entity tag."""
        packed = gzip.compress(body, 6, mtime=0) if len(body) > _SMALL_BYTES else None
        return cls(content_type, body, packed, f'"{sha256(body).hexdigest()[:32]}"')


class Assets:
    """The files of `assets/`, each loaded when first asked for: together they take 4 MB."""

    def __init__(self) -> None:
        self._loaded: dict[str, Asset] = {}

    async def get(self, name: str) -> Asset | None:
        """Return a file, or None for a name that is not in the list."""
        if name not in _FILES:
            return None
        if name not in self._loaded:
            self._loaded[name] = await asyncio.to_thread(_load, name)
        return self._loaded[name]


def send(request: web.Request, asset: Asset) -> web.Response:
    """Return an asset as an answer: 304, compressed or as it is."""
    headers = {
        hdrs.ETAG: asset.etag,
        hdrs.CACHE_CONTROL: "no-cache",  # asked again each time, answered by 304
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    if not_modified(request, asset.etag):
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = asset.content_type
    body = asset.body
    if asset.packed is not None and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        body = asset.packed
    return web.Response(body=body, headers=headers)


def _load(name: str) -> Asset:
    path = _DIRECTORY / name
    body = path.read_bytes()
    if name.startswith("redoc/"):
        body = body.replace(_FOREIGN, _NOTHING)
    return Asset.of(f"{_TYPES[path.suffix]}; charset=utf-8", body)
