"""Log lines, from a process of its own."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from proxy import logs
logs.set_up({level!r}, {form!r})
log = logging.getLogger("proxy.x")
log.debug("quiet")
log.info("two\\nlines %s", "ü", extra={{"fields": {{"port": 1}}}})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("watchfiles.main").info("a change")
"""


def lines(level: str, form: str) -> list[str]:
    """Return what a process logs."""
    program = PROGRAM.format(level=level, form=form)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b""
    return done.stderr.decode().splitlines()


def test_json_is_one_object_a_line() -> None:
    """Whatever the message holds."""
    first, second = map(json.loads, lines("info", "json"))
    assert (first["level"], first["logger"], first["message"]) == (
        "info",
        "proxy.x",
        "two\nlines ü",
    )
    assert first["port"] == 1
    assert first["time"].endswith("+00:00")
    assert "ZeroDivisionError" in second["exception"]


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("error", 1)])
def test_the_level_decides(level: str, count: int) -> None:
    """And watchfiles stays quiet: a log in a watched directory would feed itself."""
    assert len(lines(level, "json")) == count


def test_text_is_for_people() -> None:
    """Time, level, where from, what."""
    assert " INFO proxy.x: two" in lines("info", "text")[0]
