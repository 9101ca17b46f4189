"""Server-side OpenFeature clients with their published OFREP providers, against a real sidecar.

Items 58 (Python), 59 (JavaScript) and 61 (Go, Java) of the protocol's list: every type, every error
a server can answer, and a change noticed, each told by what the application gets.
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests

from tests.clients.asking import Ask, Seen, asking
from tests.clients.cases import CASES, DEFINITIONS, Case, Outcome, simple, stale, with_flag
from tests.clients.conftest import Served, serving, write_definitions
from tests.clients.keyed import PUBLIC, SECRET, Keyed, running_keyed
from tests.support.processes import running_sidecar

_NOTICED_S = 10.0  # bound, not expectation: the file is watched, and polled every few seconds
_MANY = 500

_TEXT = Case("", "text", "string", "red", Outcome("blue", "STATIC", "default"))
_REFUSED = Outcome("red", "ERROR", error="GENERAL")
_GREEN = with_flag(DEFINITIONS, simple("text", "string", "green"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_58_59_61_the_application_gets_what_was_defined(client: str, ask: Ask, case: Case) -> None:
    """Value, reason, variant, error code and metadata come through the provider unharmed."""
    expected = case.seen_by(client)
    outcome, message = ask(case)
    assert outcome == expected
    # 10 == 10.0 and False == 0 in Python, but not to an application that asks for one of them
    assert type(outcome.value) is type(expected.value)
    # providers fail on an error without details, and a person needs them
    assert bool(message) is (expected.error is not None)


def test_58_59_61_flags_that_are_too_old_give_the_applications_default(
    client: str, tmp_path: Path
) -> None:
    """Of every type, without an error where the client knows flags without a value."""
    with serving(tmp_path, "--max-age-s", "0.5") as served, asking(client, served.url) as ask:
        text = stale("text", "string", "red")
        _until(ask, lambda seen: seen.outcome in (_TEXT.seen_by(client), text.seen_by(client)))
        served.file.unlink()  # so that nobody can confirm what it said
        _until(ask, lambda seen: seen.outcome == text.seen_by(client))
        for case in (
            stale("bool-false", "boolean", True),
            stale("integer", "integer", 7),
            stale("number", "float", 0.5),
            stale("object", "object", {"mine": True}),
            stale("broken", "boolean", True),
        ):
            assert ask(case).outcome == case.seen_by(client)


def test_58_59_61_a_changed_definition_is_noticed(client: str, changeable: Served) -> None:
    """The provider caches nothing: once the sidecar has read the file, the next call shows it."""
    with asking(client, changeable.url) as ask:
        assert ask(_TEXT).outcome.value == "blue"
        changeable.write(_GREEN)
        assert _next(ask, "blue") == "green"
        others = [case for case in CASES if case.flag == "bool-true"]
        assert all(ask(case).outcome == case.seen_by(client) for case in others)


def _next(ask: Ask, before: str) -> object:
    """Return the first value of `text` that is another one."""
    return _until(ask, lambda seen: seen.outcome.value != before).outcome.value


def _until(ask: Ask, condition: Callable[[Seen], bool]) -> Seen:
    """Return the first that is so; the client is asked again and again until then."""
    deadline = time.monotonic() + _NOTICED_S
    while not condition(seen := ask(_TEXT)):
        assert time.monotonic() < deadline, f"still {seen}"
    return seen


def test_58_59_61_a_file_that_cannot_be_read_changes_nothing(
    client: str, changeable: Served
) -> None:
    """The last good definitions stay; a mended file is served again."""
    with asking(client, changeable.url) as ask:
        assert ask(_TEXT).outcome.value == "blue"
        changeable.file.write_text('{"flags": [')
        deadline = time.monotonic() + _NOTICED_S
        while not _noticed_an_unreadable_file(changeable):
            assert time.monotonic() < deadline, "the file was not read"
        assert ask(_TEXT).outcome.value == "blue"
        changeable.write(_GREEN)
        assert _next(ask, "blue") == "green", "never the application's default"


def _noticed_an_unreadable_file(served: Served) -> bool:
    metrics = requests.get(f"{served.admin}/metrics", timeout=5).text
    found = re.search(r'^matrixflag_sync_errors_total{kind="file"} (\S+)$', metrics, re.MULTILINE)
    return found is not None and float(found[1]) > 0


def test_58_59_61_an_application_that_is_earlier_than_the_flags_waits_for_them(
    client: str, tmp_path: Path
) -> None:
    """Its first evaluation is held, not refused: an error would be a wrong decision."""
    file = tmp_path / "flags.json"
    with (
        running_sidecar(tmp_path, "--snapshot", file) as sidecar,
        asking(client, sidecar.ofrep) as ask,
        ThreadPoolExecutor(1) as application,
    ):
        early = application.submit(ask, _TEXT)
        write_definitions(file, DEFINITIONS)
        assert early.result(_NOTICED_S).outcome == _TEXT.expected


def test_58_59_61_without_any_flags_the_application_has_its_default_in_time(
    client: str, tmp_path: Path
) -> None:
    """503: the sidecar gives up before the provider's five seconds are over, and is asked again."""
    file = tmp_path / "flags.json"
    with (
        running_sidecar(tmp_path, "--snapshot", file) as sidecar,
        asking(client, sidecar.ofrep) as ask,
    ):
        outcome, message = ask(_TEXT)
        assert outcome == _REFUSED
        assert "timed out" not in message
        assert _count(sidecar.admin, 503) == 1
        write_definitions(file, DEFINITIONS)
        assert _until(ask, lambda seen: seen.outcome == _TEXT.expected)


def _count(admin: str, status: int) -> float:
    """Return how many single evaluations were answered with a status."""
    labels = f'{{route="single",status="{status}"}}'
    metrics = requests.get(f"{admin}/metrics", timeout=5).text
    found = re.search(rf"^matrixflag_requests_total{labels} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_58_59_61_without_a_sidecar_the_application_has_its_default(
    client: str, unused_tcp_port: int
) -> None:
    """Nobody listening is an error to look at, not an exception to crash on."""
    with asking(client, f"http://127.0.0.1:{unused_tcp_port}") as ask:
        assert ask(_TEXT).outcome == _REFUSED


def test_58_59_61_an_application_that_asks_too_often_is_served_again(
    client: str, tmp_path: Path
) -> None:
    """429 with whole seconds: the provider pauses for so long, and no longer."""
    with serving(tmp_path, "--rate-limit=1") as served, asking(client, served.url) as ask:
        seen = [ask(_TEXT).outcome]
        while seen[-1] == _TEXT.expected and len(seen) < _MANY:
            seen.append(ask(_TEXT).outcome)
        assert seen[-1] == _REFUSED
        assert _count(served.admin, 429) >= 1
        assert _until(ask, lambda now: now.outcome == _TEXT.expected)


def test_58_59_61_a_url_may_end_with_a_slash(client: str, served: Served) -> None:
    """The providers of JavaScript then ask for a path that begins with two."""
    with asking(client, served.url + "/") as ask:
        assert ask(_TEXT).outcome == _TEXT.expected


def test_58_59_61_one_connection_does_for_all_evaluations(client: str, changeable: Served) -> None:
    """The sidecar keeps it; a provider whose connection is gone has a default to give, no retry."""
    with asking(client, changeable.url) as ask:
        ask(_TEXT)  # one that waits for the first snapshot ends its connection, and says so
        assert ask(_TEXT).outcome == _TEXT.expected
        connections = _connections(changeable)
        assert len(connections) == 1
        for case in CASES:  # errors of every status among them
            ask(case)
        assert _connections(changeable) == connections


def _connections(served: Served) -> list[object]:
    """Return from where the evaluation port is connected to."""
    port = int(served.url.rpartition(":")[2])
    connections = psutil.Process(served.pid).net_connections("tcp")
    return [c.raddr for c in connections if c.raddr and c.laddr.port == port]


def test_58_59_61_localhost_is_the_sidecar_beside(client: str, served: Served) -> None:
    """The address that every page of the manual names, whatever it resolves to first."""
    with asking(client, served.url.replace("127.0.0.1", "localhost")) as ask:
        assert ask(_TEXT).outcome == _TEXT.expected


def test_58_59_61_a_proxy_is_not_asked_for_the_sidecar_beside(
    client: str, served: Served, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a machine sends its requests through a proxy, `NO_PROXY` names what is on it."""
    nobody = f"http://127.0.0.1:{unused_tcp_port}"
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, nobody)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "localhost,127.0.0.1")
    with asking(client, served.url) as ask:
        assert ask(_TEXT).outcome == _TEXT.expected


def test_58_59_61_long_headers_are_taken(client: str, served: Served) -> None:
    """As those that tracing and tokens add: a common bound of 8 KB would refuse them."""
    with asking(client, served.url, {"Traces": "x" * 20_000}) as ask:
        assert ask(_TEXT).outcome == _TEXT.expected


_DENIED = Outcome(False, "ERROR", error="GENERAL")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A sidecar that wants a key."""
    with running_keyed(tmp_path_factory.mktemp("keyed")) as running:
        yield running


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _x_api_key(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


@pytest.mark.parametrize("headers", [_bearer, _x_api_key])
def test_58_59_61_a_server_key_evaluates_every_flag(
    client: str, keyed: Keyed, headers: Callable[[str], dict[str, str]]
) -> None:
    """Both ways in which applications send keys are taken."""
    with asking(client, keyed.url, headers(keyed.server_key)) as ask:
        for case in (SECRET, PUBLIC):
            assert ask(case).outcome == case.expected


def test_58_59_61_a_client_key_does_not_see_flags_of_servers(client: str, keyed: Keyed) -> None:
    """To a browser such a flag is one that is not there."""
    with asking(client, keyed.url, _bearer(keyed.client_key)) as ask:
        assert ask(PUBLIC).outcome == PUBLIC.expected
        assert ask(SECRET).outcome == replace(_DENIED, error="FLAG_NOT_FOUND")


@pytest.mark.parametrize("headers", [{}, _bearer("mf_server_wrong"), _x_api_key("wrong")], ids=str)
def test_58_59_61_without_the_right_key_the_application_has_its_default(
    client: str, keyed: Keyed, headers: dict[str, str]
) -> None:
    """401, of flags that exist as of those that do not; the application goes on with its own."""
    before = _count(keyed.admin, 401)
    with asking(client, keyed.url, headers) as ask:
        for case in (PUBLIC, replace(PUBLIC, flag="no-such-flag")):
            assert ask(case).outcome == _DENIED
    assert _count(keyed.admin, 401) == before + 2


def test_58_59_61_a_sidecar_key_does_not_evaluate(client: str, keyed: Keyed) -> None:
    """403: the key is known, and not for this; people try it first."""
    before = _count(keyed.admin, 403)
    with asking(client, keyed.url, _bearer(keyed.sidecar_key)) as ask:
        assert ask(PUBLIC).outcome == _DENIED
    assert _count(keyed.admin, 403) == before + 1
