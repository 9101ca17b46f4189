"""Order among things that name each other, without recursion. For segments, and prerequisites.

`ordering` and `circling` are for an event loop's turns: ten thousand names that name twenty each
take a fifth of a second in all, so they yield every millisecond. The others run through.
"""

from collections.abc import Collection, Mapping

from proxy.contract.steps import Steps, finish

__all__ = ["circling", "cycle_through", "dependency_order", "on_cycles", "ordering", "users_of"]

_NAMES_A_STEP = 200


def dependency_order(edges: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """Return the names such that each comes after those it names, and those that have no place.

    The second list is what is on a cycle, or names something that is. Unknown names are ignored.
    """
    return finish(ordering(edges))


def on_cycles(edges: Mapping[str, Collection[str]]) -> set[str]:
    """Return the names that name themselves, directly or through others; not what names those."""
    return finish(circling(edges))


def ordering(edges: Mapping[str, Collection[str]]) -> Steps[tuple[list[str], list[str]]]:
    """Return what `dependency_order` does, in small steps."""
    users = yield from _reversing(edges)
    waits: dict[str, int] = {}
    for name, named in edges.items():
        waits[name] = sum(1 for n in set(named) if n in edges)
        if len(waits) % _NAMES_A_STEP == 0:
            yield
    ready = [name for name, count in waits.items() if count == 0]
    order: list[str] = []
    while ready:
        name = ready.pop()
        order.append(name)
        for user in users.get(name, ()):
            waits[user] -= 1
            if waits[user] == 0:
                ready.append(user)
        if len(order) % _NAMES_A_STEP == 0:
            yield
    placed = set(order)
    return order, [name for name in edges if name not in placed]


def circling(edges: Mapping[str, Collection[str]]) -> Steps[set[str]]:
    """Return what `on_cycles` does, in small steps."""
    _, left = yield from ordering(edges)
    inner: dict[str, list[str]] = {}
    for name in left:
        inner[name] = [other for other in edges[name] if other in edges]
        if len(inner) % _NAMES_A_STEP == 0:
            yield
    # Kosaraju: what reaches a name is found after it, and walking back from there comes no further
    # than to what it reaches itself
    finished: list[str] = []
    seen: set[str] = set()
    for start in left:
        ways = [(start, iter(inner[start]))] if start not in seen else []
        seen.add(start)
        while ways:
            name, named = ways[-1]
            further = next((n for n in named if n not in seen and n in inner), None)
            if further is None:
                ways.pop()
                finished.append(name)
                if len(finished) % _NAMES_A_STEP == 0:
                    yield
            else:
                seen.add(further)
                ways.append((further, iter(inner[further])))
                if len(seen) % _NAMES_A_STEP == 0:
                    yield
    users = yield from _reversing(inner)
    found: set[str] = set()
    placed: set[str] = set()
    for root in reversed(finished):
        if root in placed:
            continue
        placed.add(root)
        together, stack = {root}, [root]
        while stack:
            for user in users.get(stack.pop(), ()):
                if user not in placed:
                    placed.add(user)
                    together.add(user)
                    stack.append(user)
            if len(stack) % _NAMES_A_STEP == 0:
                yield
        if len(together) > 1 or root in inner[root]:
            found |= together
    return found


def cycle_through(edges: Mapping[str, Collection[str]], start: str, first: str) -> list[str] | None:
    """Return a way `[start, first, ..., start]`, or None when there is none."""
    came_from: dict[str, str] = {first: start}
    stack = [first]
    while stack:
        name = stack.pop()
        if name == start:
            way = [start]
            while (name := came_from[name]) != start:
                way.append(name)
            return [start, *way[:0:-1], start] if first != start else [start, start]
        for named in edges.get(name, ()):
            if named not in came_from:
                came_from[named] = name
                stack.append(named)
    return None


def users_of(edges: Mapping[str, Collection[str]], name: str) -> set[str]:
    """Return everything that names `name`, directly or through others."""
    users = finish(_reversing(edges))
    found: set[str] = set()
    stack = [name]
    while stack:
        for user in users.get(stack.pop(), ()):
            if user not in found:
                found.add(user)
                stack.append(user)
    return found


def _reversing(edges: Mapping[str, Collection[str]]) -> Steps[dict[str, set[str]]]:
    """Return who names each name, in small steps."""
    users: dict[str, set[str]] = {}
    for number, (name, named) in enumerate(edges.items(), 1):
        for other in named:
            users.setdefault(other, set()).add(name)
        if number % _NAMES_A_STEP == 0:
            yield
    return users
