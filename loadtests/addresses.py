"""Where a server listens: `http://HOST:PORT[/PREFIX]`, or `unix:/PATH` of a socket."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

__all__ = ["Address", "read_address"]

P = TypeVar("P", bound=asyncio.Protocol)

_SILENCE_S = 10.0


@dataclass(frozen=True)
class Address:
    """A TCP address, or the path of a Unix socket; `prefix` comes before every route."""

    url: str
    host: str = ""
    port: int = 0
    unix: str = ""
    prefix: str = ""

    @property
    def authority(self) -> str:
        """What a `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "localhost" if self.unix else f"{host}:{self.port}"

    def open(self) -> socket.socket:
        """Return a connection that blocks, for a while; raises OSError."""
        if not self.unix:
            return socket.create_connection((self.host, self.port), _SILENCE_S)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_SILENCE_S)
        try:
            connection.connect(self.unix)
        except OSError:
            connection.close()
            raise
        return connection

    async def connect(self, protocol: Callable[[], P]) -> P:
        """Return the protocol of a new connection; raises OSError."""
        loop = asyncio.get_running_loop()
        if self.unix:
            return (await loop.create_unix_connection(protocol, self.unix))[1]
        return (await loop.create_connection(protocol, self.host, self.port))[1]


def read_address(url: str) -> Address:
    """Return the address that a URL names; raises ValueError for any other text."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"{url}: the path of a socket begins with /")
        return Address(url, unix=path)
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url}: neither http://HOST:PORT nor unix:/PATH")
    return Address(url, host=parts.hostname, port=parts.port or 80, prefix=parts.path.rstrip("/"))
