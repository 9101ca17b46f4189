"""A server that says what it is told to, byte for byte, whatever it is asked."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Script", "bind_answer", "entry", "found", "hostile_server", "message", "ber"]

Script = Callable[[int, int, bytes], bytes | Iterator[bytes]]
"""Returns the answer to a message, whole or in pieces: its number, the tag of what it asks, and all
of it."""


def ber(tag: int, *parts: bytes) -> bytes:
    """Return a value as BER has it."""
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    return bytes([tag, 0x84]) + size.to_bytes(4, "big") + content


def message(number: int, operation: bytes) -> bytes:
    """Return an LDAP message."""
    return ber(0x30, ber(0x02, number.to_bytes(4, "big")), operation)


def _result(tag: int, code: int, *more: bytes, said: str = "") -> bytes:
    return ber(tag, ber(0x0A, bytes([code])), ber(0x04), ber(0x04, said.encode()), *more)


def bind_answer(number: int, code: int = 0, said: str = "") -> bytes:
    """Return what a login came to."""
    return message(number, _result(0x61, code, said=said))


def entry(number: int, dn: str, **attributes: str) -> bytes:
    """Return one entry that was found."""
    parts = [
        ber(0x30, ber(0x04, key.encode()), ber(0x31, ber(0x04, value.encode())))
        for key, value in attributes.items()
    ]
    return message(number, ber(0x64, ber(0x04, dn.encode()), ber(0x30, *parts)))


def found(number: int, code: int = 0, referral: str = "") -> bytes:
    """Return the end of what was found, or where to ask instead."""
    more = (ber(0xA3, ber(0x04, referral.encode())),) if referral else ()
    return message(number, _result(0x65, code, *more))


def extended(number: int, code: int = 0, value: bytes | None = None) -> bytes:
    """Return the answer to another operation, who am I among them."""
    more = () if value is None else (ber(0x8B, value),)
    return message(number, _result(0x78, code, *more))


@contextmanager
def hostile_server(script: Script) -> Iterator[str]:
    """Run it, and yield its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            held.append(peer)
            threading.Thread(target=_talk, args=(peer, script), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"ldap://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for peer in held:
            peer.close()


def _talk(peer: socket.socket, script: Script) -> None:
    try:
        while data := peer.recv(65_536):
            start = 2 if data[1] < 128 else 2 + (data[1] & 0x7F)
            end = start + 2 + data[start + 1]
            number, tag = int.from_bytes(data[start + 2 : end], "big"), data[end]
            answer = script(number, tag, data)
            for piece in [answer] if isinstance(answer, bytes) else answer:
                peer.sendall(piece)
    except OSError:
        return
