"""The bytes that generators will send are sent before, and the answers come back."""

from pathlib import Path

import pytest

from loadtests.addresses import read_address
from loadtests.asking import Asked, Server, WrongAnswer, ask, prepare
from loadtests.controls import running_control
from loadtests.generator import read_requests
from loadtests.load import post
from loadtests.scenarios import SCENARIOS
from tests.loadtests.servers import in_thread, recording


@pytest.mark.parametrize(("close", "connections"), [(False, 1), (True, 5)])
def test_answers_come_in_order(close: bool, connections: int) -> None:
    """Also from a server that closes the connection after each, as it says."""
    with in_thread(lambda: recording(answer_to=lambda body: body, close=close)) as recorder:
        address = read_address(recorder.url)
        answers = ask(address, [post(address, "/", [], b"%d" % n) for n in range(5)])
    assert answers == [Asked(200, None, b"%d" % n) for n in range(5)]
    assert connections <= recorder.connections <= connections + close


def test_a_control_server_is_only_asked_whether_it_answers(tmp_path: Path) -> None:
    """What it answers is not of the flags; what is sent is in the file, for every context."""
    scenario = SCENARIOS["bulk5"]
    route = "/ofrep/v1/evaluate/flags"
    with running_control("aiohttp", tmp_path, route=route, body=b"[1]") as control:
        server = Server("a b", read_address(control.url), pid=control.pid)
        flags, contexts = scenario.flags(), scenario.contexts(30)
        target, answer = prepare(server, scenario, flags, contexts, tmp_path, judged=False)
        with pytest.raises(WrongAnswer, match="a b: "):
            prepare(server, scenario, flags, contexts, tmp_path)
    assert answer.body == b"[1]"
    assert (target.name, target.pid, target.status) == ("a b", control.pid, 200)
    requests = read_requests(target.requests)
    assert len(set(requests)) == 30
    assert all(request.startswith(b"POST /ofrep/v1/evaluate/flags HTTP") for request in requests)
