"""The servers that others are divided by."""

from pathlib import Path

import psutil
import pytest

from loadtests.addresses import read_address
from loadtests.asking import ask
from loadtests.controls import CONTROLS, running_control
from loadtests.load import post


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"a": "' + b"x" * 200_000 + b'"}'), (304, b"")]
)
def test_a_control_server_gives_the_answer_it_was_given(
    name: str, status: int, body: bytes, tmp_path: Path
) -> None:
    """The same bytes each time, on a connection that is kept; the process ends on leaving."""
    with running_control(name, tmp_path, route="/some", status=status, body=body) as control:
        address = read_address(control.url)
        answers = ask(address, [post(address, "/some", [], b"{}")] * 3)
        assert psutil.pid_exists(control.pid)
    assert [(answer.status, answer.body) for answer in answers] == [(status, body)] * 3
    assert not psutil.pid_exists(control.pid)
