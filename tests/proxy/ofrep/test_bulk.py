"""All flags, without HTTP; what it says on the wire stands in test_routes."""

from proxy.ofrep.answers import OfrepRequest
from proxy.ofrep.auth import Scope
from proxy.ofrep.bulk import evaluate_bulk
from tests.proxy.ofrep.server import DEFINITIONS
from tests.proxy.ofrep.test_views import counts, make_views


def test_304_evaluates_nothing() -> None:
    """That is what it is for."""
    views = make_views(DEFINITIONS)
    view = views.of(Scope.ALL)
    tag = dict(evaluate_bulk(view, OfrepRequest(None, b"{}"), 0).headers)["ETag"]
    before = counts(views)
    assert evaluate_bulk(view, OfrepRequest(None, b"{}", tag), 0).status == 304
    assert counts(views) == before


def test_bulk_is_never_an_exposure() -> None:
    """Tracked flags are in it, too."""
    view = make_views(DEFINITIONS).of(Scope.ALL)
    body = b'{"context":{"targetingKey":"u-1"}}'
    assert evaluate_bulk(view, OfrepRequest(None, body), 0).tracked is None


def test_a_view_without_flags_is_an_empty_list() -> None:
    """With a tag, like any other."""
    answer = evaluate_bulk(make_views({}).of(Scope.CLIENT), OfrepRequest(None, b""), 0)
    assert answer.body == b'{"flags":[]}'
    assert "ETag" in dict(answer.headers)
