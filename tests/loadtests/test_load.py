"""Both generators do the same: every request in turn, and every answer seen."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests.addresses import read_address
from loadtests.load import Load, LoadFailed, Target, post, put_load, write_requests
from tests.loadtests.servers import Recorder, in_thread, recording
from tests.support.tools import require

BODIES = [b'{"context":{"targetingKey":"user-%d"}}' % number for number in range(50)]


@pytest.fixture(params=["wrk", "python"])
def generator(request: pytest.FixtureRequest) -> str:
    """The name of a generator."""
    name: str = request.param
    if name == "wrk":
        require("wrk")
    return name


def _target(url: str, directory: Path, *, pid: int | None = None, status: int = 200) -> Target:
    address = read_address(url)
    requests = [post(address, "/some", [("X-Some", "1")], body) for body in BODIES]
    file = write_requests(directory / "some.requests", requests)
    return Target("some", address, file, pid, status)


def _loaded(
    directory: Path,
    generator: str,
    status_of: Callable[[int], int] = lambda _: 200,
    status: int = 200,
) -> tuple[Load, Recorder]:
    with in_thread(lambda: recording(status_of)) as recorder:
        target = _target(recorder.url, directory, status=status)
        load = put_load(target, 0.5, connections=3, generator=generator)
    return load, recorder


def test_every_context_is_sent_in_turn(generator: str, tmp_path: Path) -> None:
    """The contexts are those of the file, none left out, and the connections are kept."""
    load, recorder = _loaded(tmp_path, generator)
    assert load.wrong == 0
    assert set(recorder.bodies) == set(BODIES)
    counts = [recorder.bodies.count(body) for body in BODIES]
    assert max(counts) - min(counts) <= 3  # the connections
    # wrk tries its address with one connection more before it starts
    assert 3 <= recorder.connections <= 4


def test_the_figures_are_of_what_was_answered(generator: str, tmp_path: Path) -> None:
    """Each connection may have one request under way when the time is over."""
    load, recorder = _loaded(tmp_path, generator)
    assert len(BODIES) < load.requests <= len(recorder.bodies) <= load.requests + 3
    assert 0 < load.p50_us <= load.p99_us
    assert load.per_s == load.requests / load.seconds
    assert load.cpu_us is None


def test_other_statuses_are_counted(generator: str, tmp_path: Path) -> None:
    """A server that refuses fast would look fast; also what is no error is not what was asked."""
    load, _ = _loaded(tmp_path, generator, lambda number: 500 if number % 10 == 3 else 200)
    assert load.requests // 10 - 1 <= load.wrong <= load.requests // 10 + 1
    load, _ = _loaded(tmp_path, generator, status=304)
    assert load.wrong == load.requests


def test_the_cpu_time_is_of_the_process_named(generator: str, tmp_path: Path) -> None:
    """Here that of the server, which is this process."""
    with in_thread(recording) as recorder:
        target = _target(recorder.url, tmp_path, pid=os.getpid())
        load = put_load(target, 0.5, connections=3, generator=generator)
    assert load.cpu_us is not None
    assert load.cpu_us > 0


def test_a_server_that_is_not_there_is_no_figure(generator: str, tmp_path: Path) -> None:
    """The message names the target."""
    with in_thread(recording) as recorder:
        target = _target(recorder.url, tmp_path)
    with pytest.raises(LoadFailed, match="some: "):
        put_load(target, 0.5, generator=generator)


def test_a_process_that_has_ended_is_no_figure(generator: str, tmp_path: Path) -> None:
    """Its CPU time is gone, and what answers is another one."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    with (
        in_thread(recording) as recorder,
        pytest.raises(LoadFailed, match=f"process {process.pid} has ended"),
    ):
        put_load(_target(recorder.url, tmp_path, pid=process.pid), 0.5, generator=generator)
