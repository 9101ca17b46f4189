"""Who is trusted when: a real server, with a certificate that only `SSL_CERT_FILE` vouches for."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.processes import ROOT, running

_WAIT_S = 30.0
_ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_ASK = """
import asyncio, ssl, sys
from proxy import tls
import aiohttp

async def ask(session):
    try:
        async with session.get(sys.argv[1]) as response:
            print(response.status)
    except aiohttp.ClientConnectorCertificateError:
        print("not trusted")

async def main():
    async with aiohttp.ClientSession() as session:
        await ask(session)
        tls.read_authorities()
        await ask(session)
        await ask(session)
    other = ssl.create_default_context()
    print(other.cert_store_stats()["x509_ca"])

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the certificate of 127.0.0.1, its own authority, and `key.pem` beside."""
    directory = tmp_path_factory.mktemp("authority")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=tests",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    command += ["-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return directory / "certificate.pem"


@asynccontextmanager
async def _serving(authority: Path) -> AsyncIterator[tuple[str, "asyncio.Queue[bytes]"]]:
    """Serve on TLS; yields the address and the first lines of what was asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(_ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_nobody_is_trusted_until_the_authorities_are_read(authority: Path) -> None:
    async with _serving(authority) as (url, _):
        environ = {**os.environ, "SSL_CERT_FILE": str(authority), "SSL_CERT_DIR": "/nowhere"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _ASK, url), cwd=ROOT, env=environ, stdout=subprocess.PIPE
        )
        written, _ = await asyncio.wait_for(process.communicate(), _WAIT_S)
        assert written.split(b"\n") == [b"not trusted", b"503", b"503", b"1", b""]


async def test_a_sidecar_trusts_whom_the_machine_trusts(authority: Path, tmp_path: Path) -> None:
    async with _serving(authority) as (url, asked):
        arguments = ["proxy", "--port", "0", "--admin-port", "0", "--control-plane-url", url]
        environ = {"MATRIXFLAG_KEY": "mf_sidecar_" + "a" * 43}
        environ |= {"SSL_CERT_FILE": str(authority), "SSL_CERT_DIR": "/nowhere"}
        with running(arguments, tmp_path / "sidecar.log", environ):
            line = await asyncio.wait_for(asked.get(), _WAIT_S)
            assert line.startswith(b"GET /api/v1/sync/")
