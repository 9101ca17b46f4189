"""Tests of the error tree: what each carries besides its status."""

import inspect

import pytest

from control_plane import errors
from control_plane.errors import (
    ApiError,
    Invalid,
    MethodNotAllowed,
    PreconditionFailed,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, ApiError)]


def test_each_class_has_a_status_of_its_own() -> None:
    """The class is the status."""
    statuses = [c.status for c in CLASSES if c not in (ApiError, errors.Internal)]
    assert len(set(statuses)) == len(statuses)
    assert set(statuses) >= {400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429, 503}


def test_the_default_code_can_be_made_more_precise() -> None:
    """A cause has a code of its own."""
    assert errors.Conflict("x").code == "conflict"
    assert errors.Conflict("x", code="flag_in_use").code == "flag_in_use"


def test_problems_are_carried() -> None:
    """All of them."""
    problem = Problem("/a", ProblemCode.WRONG_TYPE, "is no number")
    assert Invalid("two things", problems=(problem, problem)).problems == [problem, problem]


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (2.0, "2"), (2.1, "3")])
def test_retry_after_is_a_whole_number_of_seconds_and_never_zero(
    seconds: float, header: str
) -> None:
    """Clients parse an integer; 0 would invite a storm."""
    assert Unavailable("away", retry_after_s=seconds).headers == {"Retry-After": header}
    assert TooManyRequests("slower", seconds).headers == {"Retry-After": header}


def test_the_headers_that_a_status_demands_are_there() -> None:
    """RFC 9110: 401 challenges, 405 allows; 412 tells the current version."""
    assert Unauthorized("who?").headers["WWW-Authenticate"].startswith("Bearer ")
    assert MethodNotAllowed("no", {"PUT", "GET"}).headers == {"Allow": "GET, PUT"}
    assert PreconditionFailed("moved", '"4"').headers == {"ETag": '"4"'}
