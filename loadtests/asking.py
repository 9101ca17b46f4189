"""From a server and a scenario to a target: what it will be asked, and that it answers rightly.

The very bytes that the generator will send are sent before, one connection, one after the other.
"""

import http.client
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loadtests.addresses import Address, read_address
from loadtests.apis import APIS
from loadtests.controls import CONTROLS, running_control
from loadtests.load import Target, post, write_requests
from loadtests.scenarios import Context, FlagSet, Scenario

__all__ = ["Asked", "Server", "WrongAnswer", "ask", "control_targets", "prepare"]

_CHECKED = 20  # contexts whose answers are judged before the load


class WrongAnswer(Exception):
    """A server does not answer, or not what is right; the text says which and what."""


@dataclass(frozen=True)
class Server:
    """What a user says of a server."""

    name: str
    address: Address
    api: str = "ofrep"
    pid: int | None = None
    key: str | None = None


class Asked(NamedTuple):
    """An answer."""

    status: int
    etag: str | None
    body: bytes


def ask(address: Address, requests: Iterable[bytes]) -> list[Asked]:
    """Return the answers to requests, on one connection for as long as the server keeps it.

    Raises OSError or HTTPException.
    """
    answers = []
    with ExitStack() as stack:
        connection = stack.enter_context(address.open())
        for request in requests:
            connection.sendall(request)
            with http.client.HTTPResponse(connection, method="POST") as response:
                response.begin()
                body = response.read()
                answers.append(Asked(response.status, response.headers.get("ETag"), body))
                closing = response.will_close
            if closing:  # as a sidecar does once, when it had no flags yet
                connection = stack.enter_context(address.open())
    return answers


def prepare(
    server: Server,
    scenario: Scenario,
    flags: FlagSet,
    contexts: Sequence[Context],
    directory: Path,
    *,
    judged: bool = True,
) -> tuple[Target, Asked]:
    """Return a target and its first answer, after its answers to some contexts were right.

    Not `judged` is a server that answers a constant: only its status must be right.

    Raises:
        WrongAnswer: when it does not answer, or wrongly.
    """
    api = APIS[server.api]
    if scenario.not_modified and server.api != "ofrep":
        raise WrongAnswer(f"{server.name}: {scenario.name} is of OFREP, not of {server.api}")
    path = api.path(flags.flags[0].key if scenario.single else None)
    headers = [api.key(server.key)] if server.key is not None else []
    bodies = [json.dumps(api.body(context)).encode() for context in contexts]
    requests = [post(server.address, path, headers, body) for body in bodies]
    answers = _asked(server, requests[:_CHECKED])
    wrong = (
        _problem(answer, server, scenario, flags, context, judged=judged)
        for answer, context in zip(answers, contexts, strict=False)
    )
    if found := next((problem for problem in wrong if problem), None):
        raise WrongAnswer(f"{server.name}: {found}")
    if scenario.not_modified:
        requests = _conditional(server, path, headers, bodies, requests)
        answers = _asked(server, requests[:_CHECKED])
        if other := {answer.status for answer in answers} - {304}:
            raise WrongAnswer(f"{server.name}: status {min(other)} for the ETag it gave, not 304")
    file = directory / f"{re.sub('[^a-z0-9]', '-', server.name.lower())}.requests"
    status = 304 if scenario.not_modified else 200
    target = Target(server.name, server.address, write_requests(file, requests), server.pid, status)
    return target, answers[0]


@contextmanager
def control_targets(
    answer: Asked,
    scenario: Scenario,
    flags: FlagSet,
    contexts: Sequence[Context],
    directory: Path,
) -> Iterator[list[Target]]:
    """Run the control servers, which give the same answer to all, and yield them as targets."""
    route = APIS["ofrep"].path(flags.flags[0].key if scenario.single else None)
    with ExitStack() as stack:
        targets = []
        for name in CONTROLS:
            control = stack.enter_context(
                running_control(
                    name, directory, route=route, status=answer.status, body=answer.body
                )
            )
            server = Server(name, read_address(control.url), pid=control.pid)
            target, _ = prepare(server, scenario, flags, contexts, directory, judged=False)
            targets.append(target)
        yield targets


def _asked(server: Server, requests: Iterable[bytes]) -> list[Asked]:
    try:
        return ask(server.address, requests)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        raise WrongAnswer(f"{server.name}: no answer at {server.address.url}: {why}") from None


def _problem(
    answer: Asked,
    server: Server,
    scenario: Scenario,
    flags: FlagSet,
    context: Context,
    *,
    judged: bool,
) -> str | None:
    if answer.status != 200 and not (scenario.not_modified and not judged):
        return f"status {answer.status}, not 200: {answer.body[:200].decode(errors='replace')}"
    if scenario.not_modified and answer.etag is None:
        return "no ETag"
    if not judged:
        return None
    return APIS[server.api].wrong(answer.body, flags, context, bulk=not scenario.single)


def _conditional(
    server: Server,
    path: str,
    headers: list[tuple[str, str]],
    bodies: Sequence[bytes],
    requests: Sequence[bytes],
) -> list[bytes]:
    """Return the requests with the ETags that the server gives for them now."""
    tags = (answer.etag or "" for answer in _asked(server, requests))
    return [
        post(server.address, path, [*headers, ("If-None-Match", tag)], body)
        for tag, body in zip(tags, bodies, strict=True)
    ]
