"""Locust users: applications that evaluate over OFREP, and people who change flags by the API.

Start `make run`, then `locust -f loadtests/locustfile.py`; the addresses are read from
`.matrixflag/dev.json`, or from the file that `--dev-json` names. The flags are made when a test
starts and deleted when it stops. `loadtests.run` does all of it unattended.

FastHttpUser, because the generator shares the machine with what it measures: it drives four times
the requests per core that the other client does.
"""

import json
import random
import time
import urllib.error
import urllib.request
import uuid
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, between, events, task
from locust.env import Environment

from loadtests.answers import Answers, FlagUnderLoad
from loadtests.definitions import COUNTRIES, flags, toggle

_UNITS = 1_000  # distinct contexts: enough to defeat a cache of one, few enough to remember all
_SERVED_S = 10.0  # bound of every wait for a change to arrive at the sidecar
_PAGE = 50

ANSWERS = Answers(flags())
KEYS = tuple(ANSWERS.flags)


class Addresses:
    """Where the servers of this run are, read from `dev.json` when locust starts."""

    control_plane: str = ""
    sidecar: str = ""
    token: str = ""


@events.init_command_line_parser.add_listener
def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--dev-json",
        default=".matrixflag/dev.json",
        env_var="LOADTEST_DEV_JSON",
        help="what `matrixflag dev` wrote of its addresses",
    )


@events.init.add_listener
def _addresses(environment: Environment, **_: Any) -> None:
    assert environment.parsed_options is not None
    document = json.loads(Path(environment.parsed_options.dev_json).read_text())
    Addresses.control_plane = ControlPlaneUser.host = document["control_plane_url"]
    Addresses.sidecar = OfrepUser.host = document["sidecar_url"]
    Addresses.token = document["service_key"]


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {Addresses.token}", "Content-Type": "application/json"}


def _call(method: str, url: str, body: object = None) -> int:
    """Return the status of a request that is preparation, not load."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, _headers(), method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _create(flag: FlagUnderLoad) -> None:
    """Make a flag, or make it anew when an interrupted run left it behind."""
    collection = f"{Addresses.control_plane}/api/v1/flags"
    status = _call("POST", collection, flag.document)
    if status == 409:
        _delete(flag.key)
        status = _call("POST", collection, flag.document)
    if status != 201:
        raise RuntimeError(f"{flag.key} could not be made: status {status}")


def _delete(key: str) -> None:
    _call("DELETE", f"{Addresses.control_plane}/api/v1/flags/{key}")


@events.test_start.add_listener
def _prepare(**_: Any) -> None:
    for flag in ANSWERS.flags.values():
        _create(flag)
    deadline = time.monotonic() + _SERVED_S
    last = f"{Addresses.sidecar}/ofrep/v1/evaluate/flags/{KEYS[-1]}"
    while (status := _call("POST", last, {})) != 200:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the sidecar does not serve the flags: status {status}")
        gevent.sleep(0.01)


@events.test_stop.add_listener
def _clean_up(**_: Any) -> None:
    for key in KEYS:
        _delete(key)


def _context() -> tuple[str, dict[str, Any]]:
    """Return a context, always the same for one unit, and its name."""
    number = random.randrange(_UNITS)
    name = f"user-{number}"
    attributes = {"country": COUNTRIES[number % len(COUNTRIES)], "age": number % 80}
    return name, {"targetingKey": name, **attributes, "email": f"{name}@example.com"}


class OfrepUser(FastHttpUser):
    """An application: mostly single evaluations, sometimes all flags at once, rarely a typo."""

    weight = 8
    wait_time = between(0, 0.01)
    network_timeout = connection_timeout = 5.0  # what the Python provider waits

    @task(20)
    def one(self) -> None:
        """Evaluate one flag for one unit."""
        key = random.choice(KEYS)
        name, context = _context()
        path = f"/ofrep/v1/evaluate/flags/{key}"
        with self._post(path, "one flag", {"context": context}) as answer:
            wrong = ANSWERS.wrong_evaluation(answer.status_code, answer.content or b"", key, name)
            _judge(answer, wrong)

    @task(3)
    def all(self) -> None:
        """Evaluate all flags, then ask again with the ETag, as a browser does."""
        name, context = _context()
        path, body = "/ofrep/v1/evaluate/flags", {"context": context}
        with self._post(path, "all flags", body) as answer:
            etag = (answer.headers or {}).get("etag")
            content = answer.content or b""
            wrong = ANSWERS.wrong_bulk(answer.status_code, content, etag, name)
            _judge(answer, wrong)
        if wrong is not None:
            return
        with self._post(path, "all flags again", body, {"If-None-Match": etag}) as answer:
            if answer.status_code == 304:
                _judge(answer, "304 has a body" if answer.content else None)
            else:  # a writer changed something in between
                again = (answer.headers or {}).get("etag")
                content = answer.content or b""
                wrong = ANSWERS.wrong_bulk(answer.status_code, content, again, name)
                _judge(answer, wrong or ("same ETag, not 304" if again == etag else None))

    @task(1)
    def unknown(self) -> None:
        """Evaluate a flag that is not there."""
        path = "/ofrep/v1/evaluate/flags/load.no-such-flag"
        with self._post(path, "unknown flag", {"context": {}}) as answer:
            wrong = ANSWERS.wrong_unknown(answer.status_code, answer.content or b"")
            _judge(answer, wrong)

    def _post(
        self, path: str, name: str, body: object, headers: dict[str, Any] | None = None
    ) -> Any:
        return self.client.post(
            path, json=body, headers=headers or {}, name=f"ofrep: {name}", catch_response=True
        )


class ControlPlaneUser(FastHttpUser):
    """A person or a script: reads, lists, and switches a flag of its own."""

    weight = 1
    wait_time = between(0.05, 0.15)
    network_timeout = connection_timeout = 10.0

    def on_start(self) -> None:
        """Make this user's flag."""
        self.flag = toggle(uuid.uuid4().hex[:12])
        self.value = True
        self.etag = ""
        self.url = f"/api/v1/flags/{self.flag.key}"
        _create(self.flag)
        self.read()

    def on_stop(self) -> None:
        """Delete this user's flag."""
        _delete(self.flag.key)

    @task(5)
    def read(self) -> None:
        """Read the flag: it has the value last written."""
        with self._send("GET", self.url, "read a flag") as answer:
            wrong = self._wrong_flag(answer)
            if wrong is None:
                self.etag = answer.headers["etag"]
            _judge(answer, wrong)

    @task(2)
    def read_unchanged(self) -> None:
        """Read the flag with its ETag: nobody else writes it, so it is 304."""
        headers = {"If-None-Match": self.etag}
        with self._send("GET", self.url, "read a flag again", headers=headers) as answer:
            wrong = None if answer.status_code == 304 else f"status {answer.status_code}, not 304"
            _judge(answer, wrong)

    @task(2)
    def list(self) -> None:
        """Read the first page of the flags."""
        url = f"/api/v1/flags?limit={_PAGE}"
        with self._send("GET", url, "list flags") as answer:
            if answer.status_code != 200:
                _judge(answer, f"status {answer.status_code}")
                return
            page = answer.json()
            keys = [item["key"] for item in page["items"]]
            fine = 0 < len(keys) <= _PAGE and len(set(keys)) == len(keys) and "next_cursor" in page
            _judge(answer, None if fine else f"a page of {len(keys)}, {len(set(keys))} distinct")

    @task(3)
    def write(self) -> None:
        """Switch the flag, and wait until the sidecar answers with the new value."""
        self.value = not self.value
        body = {**self.flag.document, "value": self.value}
        headers = {"If-Match": self.etag}
        start = time.perf_counter()
        with self._send("PUT", self.url, "write a flag", body, headers) as answer:
            wrong = self._wrong_flag(answer)
            if wrong is None and answer.headers["etag"] == self.etag:
                wrong = "the ETag did not change"
            _judge(answer, wrong)
        if wrong is not None:
            return
        self.etag = answer.headers["etag"]
        with self._arrival(start):
            while self._evaluated() is not self.value:
                if time.perf_counter() - start > _SERVED_S:
                    raise TimeoutError(f"not served after {_SERVED_S} s")
                gevent.sleep(0.001)

    def _wrong_flag(self, answer: Any) -> str | None:
        if answer.status_code != 200:
            return f"status {answer.status_code}: {(answer.content or b'')[:300]!r}"
        document = answer.json()
        if document["key"] != self.flag.key or document["value"] is not self.value:
            return f"not what was written ({self.value}): {document}"
        return None if answer.headers.get("etag") else "no ETag"

    def _evaluated(self) -> object:
        """Return what the sidecar answers for the flag, outside the statistics of the API."""
        url = f"{Addresses.sidecar}/ofrep/v1/evaluate/flags/{self.flag.key}"
        with self._send("POST", url, "evaluate what was written", {"context": {}}) as answer:
            wrong = None if answer.status_code == 200 else f"status {answer.status_code}"
            _judge(answer, wrong)
            return answer.json()["value"] if wrong is None else None

    @contextmanager
    def _arrival(self, start: float) -> Iterator[None]:
        """Report the time from `start` to the end of the block as a row of its own."""
        failure: Exception | None = None
        try:
            yield
        except TimeoutError as error:
            failure = error
        self.environment.events.request.fire(
            request_type="FLOW",
            name="api: written to evaluated",
            response_time=(time.perf_counter() - start) * 1000,
            response_length=0,
            exception=failure,
            context={},
        )

    def _send(
        self,
        method: str,
        url: str,
        name: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        return self.client.request(
            method,
            url,
            json=body,
            headers={**_headers(), **(headers or {})},
            name=f"api: {name}",
            catch_response=True,
        )


def _judge(answer: Any, wrong: str | None) -> None:
    """Report the answer as right, whatever its status, or as the failure that `wrong` says."""
    if wrong is None:
        answer.success()
    else:
        answer.failure(wrong)
