"""The headers beside a flag that was written."""

import json

from control_plane.flags.model import Written, resource_of
from control_plane.flags.rebucketing import Moved
from control_plane.flags.responses import MOVED_HEADER, WARNINGS_HEADER, written_response
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem
from tests.support.definitions import flag_record

RESOURCE = resource_of(flag_record("f"), "production")


def test_nothing_to_say_is_no_header() -> None:
    """Most writes."""
    answer = written_response(Written(RESOURCE, [], []))
    assert WARNINGS_HEADER not in answer.headers
    assert MOVED_HEADER not in answer.headers
    assert answer.headers["ETag"] == '"1"'


def test_notes_of_any_script_fit_a_header() -> None:
    """As ASCII, and read back as they were."""
    problem = Problem("/variants/ü\n", ProblemCode.ARRAY_VALUE, "\U0001f600")
    text = written_response(Written(RESOURCE, [problem], [])).headers[WARNINGS_HEADER]
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)[0]["pointer"] == "/variants/ü\n"


def test_headers_stay_small_however_much_there_is_to_say() -> None:
    """Proxies drop answers with large ones."""
    moved = [Moved("e" * 64, "rules/" + "r" * 500, number) for number in range(1_000)]
    text = written_response(Written(RESOURCE, [], moved)).headers[MOVED_HEADER]
    assert len(text) <= 3_000
    assert 0 < len(json.loads(text)) <= 10
