"""Tests of the log lines."""

import json
import logging
import sys
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web import RequestPayloadError

from control_plane import logs
from control_plane.logs import JsonFormatter
from proxy import logs as sidecar_logs


@pytest.fixture(autouse=True)
def _restored() -> object:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def test_a_json_line_is_one_object_with_the_trace_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A collector reads line by line."""
    logs.configure("INFO", "json")
    logging.getLogger("a.b").error("it %s", "failed", exc_info=ValueError("first\nsecond"))
    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert document["level"] == "error"
    assert document["logger"] == "a.b"
    assert document["message"] == "it failed"
    assert "second" in document["exception"]
    assert document["time"].endswith("Z")


def test_text_lines_respect_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    """Below it nothing is written."""
    logs.configure("WARNING", "text")
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("heard")
    assert capsys.readouterr().err.rstrip().endswith("WARNING a: heard")


@pytest.mark.parametrize("error", [RequestPayloadError("no gzip"), BadHttpMessage("no HTTP")])
def test_a_callers_broken_request_fills_no_log(
    capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """aiohttp logs a trace for each; the caller has been told with a 400."""
    logs.configure("INFO", "text")
    logging.getLogger("aiohttp.server").error("Unhandled exception", exc_info=error)
    assert capsys.readouterr().err == ""


def test_what_cannot_be_encoded_is_still_a_line() -> None:
    """A log line about bad text must not fail on it."""
    record = logging.LogRecord("a", 20, __file__, 1, "bad \udc80 text", (), sys.exc_info())
    json.loads(JsonFormatter().format(record))


def test_both_programs_write_the_same_members(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever collects the logs of sidecars and control planes reads them as one."""
    members = {"time", "level", "logger", "message", "exception"}
    for set_up in (logs.configure, sidecar_logs.set_up):
        set_up("info", "json")
        logging.getLogger("a").error("failed", exc_info=ValueError("x"))
        line = json.loads(capsys.readouterr().err)
        assert line.keys() == members
        age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
        assert timedelta() <= age < timedelta(minutes=1)  # UTC, whatever the machine's zone
