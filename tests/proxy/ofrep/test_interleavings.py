"""Whatever happens to connections, and in whatever order: answers come whole, once and in turn, no
exception leaves a callback, and nothing stays counted when all is over.

Hypothesis makes up the order. The transport is none of the kernel's, but as strict as uvloop's, and
holds answers back as long as a client is deaf.
"""

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import accumulate
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.ofrep import front as front_module
from proxy.ofrep.front import HEAD_TIMEOUT_S, Limits
from tests.proxy.ofrep.mutations import request
from tests.proxy.ofrep.server import DEFINITIONS, FLAGS, Server, running_server
from tests.proxy.ofrep.server import flag as defined

_HIGH_WATER = 500
_TURNS = 40  # what aiohttp needs for a request is about ten
_MAX_CONNECTIONS = 3
_KEEPALIVE_S = 20
_LAST = {408, 431, 503}
"""With these a connection is ended that was not asked to be."""
_CONTEXT = b'{"context":{"targetingKey":"u-1","plan":"pro"}}'
_HEADERS = b"Host: a\r\nContent-Type: application/json\r\n"


class Pipe(asyncio.Transport):
    """A connection, seen from both its ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.expected: list[tuple[int, str | None]] = []
        """Status and key of the answer to each request."""
        self.lengths: list[int] = []
        """Of these requests."""
        self.sent = 0
        """How many bytes of them were sent."""
        self.last_expected = False
        """Whether one of these ends the connection."""
        self.unsent: bytes = b""
        """Of these requests, what is still to be sent."""
        self.got = bytearray()
        self.deaf = False
        self.lost = False
        self.ended = False  # no more comes from the client
        self.seconds = 0  # since it was made
        self._buffer = bytearray()
        self._closing = self.ended_by_server = self._paused = False
        self._loop = loop
        self._protocol = protocol
        self._reading = True
        self._waiting: list[bytes | None] = []
        protocol.connection_made(self)

    def send(self, data: bytes | None) -> None:
        """Send bytes, or None to send no more."""
        self._waiting.append(data)
        self._deliver()

    def take(self) -> None:
        """Let the client take what was written."""
        self.got += self._buffer
        self._buffer.clear()
        if self._paused and not self.lost:
            self._paused = False
            self._protocol.resume_writing()
        if self._closing:
            self._lose(None)

    def reset(self) -> None:
        """Let the client be gone."""
        self._closing = True
        self._buffer.clear()
        self._lose(ConnectionResetError())

    def _deliver(self) -> None:
        while self._waiting and self._reading and not self._closing:
            data = self._waiting.pop(0)
            if data is not None:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()

    def _lose(self, error: Exception | None) -> None:
        self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self._protocol.connection_lost(error)

    def write(self, data: Any) -> None:
        assert not self.lost, "written after the end"
        assert not self.ended_by_server, "written after the end of what is written"
        self._buffer += data
        if not self.deaf:
            self.got += self._buffer
            self._buffer.clear()
        elif len(self._buffer) > _HIGH_WATER and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        assert not self.lost, "ended after the end"
        self.ended_by_server = True

    def close(self) -> None:
        self._closing = True
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        self._closing = True
        self._buffer.clear()
        self._lose(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def answers(self) -> list[tuple[int, str | None]]:
        """Return status and key of each answer that was taken."""
        found, rest = [], bytes(self.got)
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            fields = {name.lower(): value for name, value in (line.split(": ") for line in lines)}
            length = int(fields.get("content-length", 0))
            assert len(rest) >= length, "an answer was cut"
            body, rest = rest[:length], rest[length:]
            document = json.loads(body or b"{}")
            found.append((int(first.split()[1]), document.get("key")))
        return found


class Interleavings(RuleBasedStateMachine):
    """One front door and a few connections."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.failures: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _loop, context: self.failures.append(context))
        limits = Limits(_MAX_CONNECTIONS, _KEEPALIVE_S)
        self.running: AbstractAsyncContextManager[Server] = running_server(limits=limits)
        self.server = self.loop.run_until_complete(self.running.__aenter__())
        self.pipes: list[Pipe] = []
        self.asked = 0
        self.turn_s = front_module._TURN_S

    def inside(self, act: Callable[[], object]) -> None:
        """Do something as the loop would: what comes of it is not waited for."""

        async def do() -> None:
            act()

        self.loop.run_until_complete(do())

    def pipe(self, data: st.DataObject) -> Pipe:
        """Choose a connection."""
        return data.draw(st.sampled_from(self.pipes))

    @rule()
    def connect(self) -> None:
        """Another client."""
        protocol = self.server.front.connect()
        self.inside(lambda: self.pipes.append(Pipe(self.loop, protocol)))

    @precondition(lambda self: self.pipes)
    @rule(data=st.data(), count=st.integers(1, 12), whole=st.booleans(), deaf=st.booleans())
    def ask(self, data: st.DataObject, count: int, whole: bool, deaf: bool) -> None:
        """Send what is left of a request and some more; perhaps take no answers from now on."""
        pipe = self.pipe(data)
        pipe.deaf |= deaf
        if pipe.ended or pipe.last_expected:
            return
        sent = pipe.unsent
        for _ in range(count):
            one = self._request(data, pipe)
            pipe.lengths.append(len(one))
            sent += one
            if pipe.last_expected:
                break
        cut = len(sent) if whole else data.draw(st.integers(1, len(sent)))
        self._send(pipe, sent, cut)

    @precondition(lambda self: self.pipes)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """Send a bit more of what was begun."""
        pipe = self.pipe(data)
        if pipe.unsent and not pipe.ended:
            self._send(pipe, pipe.unsent, data.draw(st.integers(1, len(pipe.unsent))))

    def _send(self, pipe: Pipe, data: bytes, count: int) -> None:
        pipe.unsent = data[count:]
        pipe.sent += count
        self.inside(lambda: pipe.send(data[:count]))

    def _request(self, data: st.DataObject, pipe: Pipe) -> bytes:
        self.asked += 1
        kinds = ["known", "missing", "bulk", "options"] * 3 + ["close", "other"]
        kind = data.draw(st.sampled_from(kinds))
        match kind:
            case "known":
                pipe.expected.append((200, "ruled"))
                return request(f"{FLAGS}/ruled", _CONTEXT)
            case "missing":
                pipe.expected.append((404, f"n{self.asked}"))
                return request(f"{FLAGS}/n{self.asked}", _CONTEXT)
            case "bulk":
                pipe.expected.append((200, None))
                return request(FLAGS, _CONTEXT)
            case "options":
                pipe.expected.append((204, None))
                return request(FLAGS, b"", method=b"OPTIONS")
            case "close":
                pipe.expected.append((200, "ruled"))
                pipe.last_expected = True
                headers = _HEADERS + b"Connection: close\r\n"
                return request(f"{FLAGS}/ruled", _CONTEXT, headers=headers)
        pipe.expected.append((405, f"n{self.asked}"))
        pipe.last_expected = True
        return request(f"{FLAGS}/n{self.asked}", b"", method=b"GET")

    @precondition(lambda self: self.pipes)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """Take all answers."""
        pipe = self.pipe(data)
        pipe.deaf = False
        self.inside(pipe.take)

    @precondition(lambda self: self.pipes)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """Send no more."""
        pipe = self.pipe(data)
        if not pipe.ended:
            pipe.ended = True
            self.inside(lambda: pipe.send(None))

    @precondition(lambda self: self.pipes)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """Be gone."""
        pipe = self.pipe(data)
        self.pipes.remove(pipe)
        self.inside(pipe.reset)

    @rule(seconds=st.sampled_from([1, 1, 1, 3, 11, 31]))
    def tick(self, seconds: int) -> None:
        """Let time go by."""
        for pipe in self.pipes:
            pipe.seconds += seconds
        for _ in range(seconds):
            self.inside(self.server.front.tick)

    @rule()
    def swap(self) -> None:
        """Serve the same flags and another, or that one no more."""
        more = {"other": defined("boolean", {"a": True})} if self.server.revision % 2 else {}
        self.loop.run_until_complete(self.server.offer(DEFINITIONS | more))

    @rule(short=st.booleans())
    def shorten_turns(self, short: bool) -> None:
        """Let many requests at once take many turns, or one."""
        front_module._TURN_S = 0.0 if short else math.inf

    @precondition(lambda self: self.asked > 30)
    @rule()
    def drain(self) -> None:
        """Begin to stop."""
        self.inside(self.server.front.drain)

    @rule()
    def turn(self) -> None:
        """Let all be done that can be."""

        async def turns() -> None:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    @invariant()
    def nothing_escapes(self) -> None:
        """No callback raises."""
        assert not self.failures

    def teardown(self) -> None:
        """End all, in two ways; nothing is left."""
        front = self.server.front
        front_module._TURN_S = self.turn_s
        try:
            self.turn()
            for pipe in self.pipes:
                pipe.deaf = False
                self.inside(pipe.take)
            self.turn()
            for pipe in self.pipes:
                self._compare(pipe)
                self.inside(pipe.reset)
            self.turn()
            assert not front.connections
            assert not front.handed_over
            assert front.lingering == 0
            assert front.unsent_bytes == 0
            assert self.server.answering.held.in_use == 0
            self.nothing_escapes()
        finally:
            self.loop.run_until_complete(self.running.__aexit__(None, None, None))
            self.loop.close()

    def _compare(self, pipe: Pipe) -> None:
        answers = pipe.answers()
        whole = sum(end <= pipe.sent for end in accumulate(pipe.lengths))
        if not pipe.is_closing() and not pipe.ended_by_server:
            assert len(answers) == whole
        elif answers and answers[-1][0] in _LAST:
            answers.pop()
        elif pipe.seconds <= HEAD_TIMEOUT_S and not self.server.front.stopping:
            assert pipe.ended or (pipe.last_expected and len(answers) == len(pipe.expected))
        assert answers == pipe.expected[: len(answers)]
        assert len(answers) <= whole


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
