"""The PyPI OFREP provider in the OpenFeature SDK, as an application uses it."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails

from tests.clients.cases import CASES, DEFINITIONS, Case, Outcome, with_flag
from tests.clients.conftest import Served, write_definitions
from tests.support.processes import running_sidecar

_NOTICED_S = 10.0  # bound, not expectation: the file is watched, and polled every few seconds


def _client(url: str, domain: str) -> OpenFeatureClient:
    api.set_provider_and_wait(OFREPProvider(url), domain)
    return api.get_client(domain)


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[OpenFeatureClient]:
    """A client of the sidecar that nothing changes."""
    yield _client(served.url, "served")
    api.clear_providers()


def _evaluate(client: OpenFeatureClient, case: Case) -> FlagEvaluationDetails[object]:
    attributes = dict(case.context)
    key = attributes.pop("targetingKey", None)
    context = EvaluationContext(targeting_key=key, attributes=attributes)
    evaluate = getattr(client, f"get_{case.kind}_details")
    details: FlagEvaluationDetails[object] = evaluate(case.flag, case.default, context)
    return details


def _outcome(details: FlagEvaluationDetails[object]) -> Outcome:
    return Outcome(
        details.value,
        str(details.reason),
        details.variant,
        None if details.error_code is None else str(details.error_code.value),
        dict(details.flag_metadata or {}),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_application_gets_what_was_defined(client: OpenFeatureClient, case: Case) -> None:
    """Value, reason, variant, error code and metadata come through the provider unharmed."""
    expected = case.python or case.expected
    details = _evaluate(client, case)
    assert _outcome(details) == expected
    # 10 == 10.0 and False == 0 in Python, but not to an application that asks for one of them
    assert type(details.value) is type(expected.value)


@pytest.mark.parametrize(
    "case", [c for c in CASES if (c.python or c.expected).error], ids=lambda case: case.name
)
def test_an_error_says_what_is_wrong(client: OpenFeatureClient, case: Case) -> None:
    """The provider fails on an error without details, and a person needs them."""
    assert _evaluate(client, case).error_message


def test_a_changed_definition_is_noticed(changeable: Served) -> None:
    """The provider caches nothing: once the sidecar has read the file, the next call shows it."""
    client = _client(changeable.url, "changeable")
    assert client.get_string_value("text", "red") == "blue"
    flag = {"key": "text", "type": "string", "value": "green", "enabled": True}
    changeable.write(with_flag(DEFINITIONS, flag))
    deadline = time.monotonic() + _NOTICED_S
    while (value := client.get_string_value("text", "red")) == "blue":
        assert time.monotonic() < deadline, "the change was not noticed"
    assert value == "green"
    assert client.get_boolean_value("bool-true", False) is True


def test_a_file_that_cannot_be_read_changes_nothing(changeable: Served) -> None:
    """The last good definitions stay; a mended file is served again."""
    client = _client(changeable.url, "unreadable")
    assert client.get_string_value("text", "red") == "blue"
    changeable.file.write_text('{"flags": [')
    deadline = time.monotonic() + _NOTICED_S
    while not _noticed_an_unreadable_file(changeable):
        assert time.monotonic() < deadline, "the file was not read"
    assert client.get_string_value("text", "red") == "blue"
    flag = {"key": "text", "type": "string", "value": "green", "enabled": True}
    changeable.write(with_flag(DEFINITIONS, flag))
    deadline = time.monotonic() + _NOTICED_S
    while (value := client.get_string_value("text", "red")) == "blue":
        assert time.monotonic() < deadline, "the mended file was not noticed"
    assert value == "green", "never the application's default"


def _noticed_an_unreadable_file(served: Served) -> bool:
    metrics = requests.get(f"{served.admin}/metrics", timeout=5).text
    found = re.search(r'^matrixflag_sync_errors_total{kind="file"} (\S+)$', metrics, re.MULTILINE)
    return found is not None and float(found[1]) > 0


def test_an_application_that_is_earlier_than_the_flags_waits_for_them(tmp_path: Path) -> None:
    """Its first evaluation is held, not refused: an error would be a wrong decision."""
    file = tmp_path / "flags.json"
    with (
        running_sidecar(tmp_path, "--snapshot", file) as sidecar,
        ThreadPoolExecutor(1) as application,
    ):
        client = _client(sidecar.ofrep, "early")
        early = application.submit(client.get_string_details, "text", "red")
        write_definitions(file, DEFINITIONS)
        assert _outcome(early.result(_NOTICED_S)) == Outcome("blue", "STATIC", "default")


def test_without_any_flags_the_application_has_its_default_in_time(tmp_path: Path) -> None:
    """The sidecar gives up before the provider's five seconds are over, and says why."""
    file = tmp_path / "flags.json"
    with running_sidecar(tmp_path, "--snapshot", file) as sidecar:
        details = _client(sidecar.ofrep, "empty").get_string_details("text", "red")
    assert details.value == "red"
    assert details.error_code is ErrorCode.GENERAL
    assert "timed out" not in (details.error_message or "")


def test_without_a_sidecar_the_application_has_its_default(unused_tcp_port: int) -> None:
    """Nobody listening is an error to look at, not an exception to crash on."""
    client = _client(f"http://127.0.0.1:{unused_tcp_port}", "nobody")
    details = client.get_boolean_details("bool-true", False)
    assert details.value is False
    assert details.error_code is ErrorCode.GENERAL
