"""One flag, without HTTP; what it says on the wire stands in test_routes."""

from proxy.ofrep.answers import OfrepRequest
from proxy.ofrep.auth import Scope
from proxy.ofrep.single import evaluate_single
from tests.proxy.ofrep.server import DEFINITIONS, ON_OFF, flag
from tests.proxy.ofrep.test_views import counts, make_views


def test_it_counts_what_it_evaluated_and_nothing_else() -> None:
    """A body that is refused evaluates nothing."""
    views = make_views(DEFINITIONS)
    for body in (b"{}", b"{", b""):
        evaluate_single(views.of(Scope.ALL), OfrepRequest("bool", body), 0)
    assert counts(views)["bool"] == 2


def test_only_tracked_flags_with_a_variant_are_exposures() -> None:
    """Without a variant nobody was shown anything."""
    view = make_views(
        {
            "tracked": flag("boolean", ON_OFF, track=True),
            "plain": flag("boolean", ON_OFF),
            "off": flag("boolean", ON_OFF, track=True, enabled=False),
            "broken": flag("boolean", ON_OFF, "none", track=True),
        }
    ).of(Scope.ALL)
    tracked = {
        key: evaluate_single(view, OfrepRequest(key, b"{}"), 0).tracked is not None
        for key in (*view.flags, "none")
    }
    assert tracked == {
        "tracked": True,
        "plain": False,
        "off": False,
        "broken": False,
        "none": False,
    }
