"""The views that belong to what is served."""

from proxy.holder import Holder
from proxy.ofrep.auth import Scope
from proxy.ofrep.current import Current
from tests.support.snapshots import make_snapshot


async def test_the_views_are_exchanged_with_the_snapshot() -> None:
    """None before the first, and the counts of the last are settled."""
    holder, current = Holder(), Current()
    holder.subscribe(current.swapped)
    assert current.views is None
    await holder.offer(make_snapshot({"f": True})[1], "file")
    first = current.views
    assert first is not None
    first.of(Scope.ALL).render({}, 0)
    await holder.offer(make_snapshot({"f": False}, revision=2)[1], "file")
    assert current.views is not first
    assert current.views is not None
    assert current.views.header.revision == 2
    assert sum(answer.evaluations for answer in first.compiled.flags["f"].answers) == 1
