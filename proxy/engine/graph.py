"""Order among things that name each other, without recursion. For segments, and prerequisites."""

from collections.abc import Collection, Mapping

__all__ = ["cycle_through", "dependency_order", "on_cycles", "users_of"]


def dependency_order(edges: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """Return the names such that each comes after those it names, and those that have no place.

    The second list is what is on a cycle, or names something that is. Unknown names are ignored.
    """
    users = _reversed(edges)
    waits = {name: sum(1 for n in set(named) if n in edges) for name, named in edges.items()}
    ready = [name for name, count in waits.items() if count == 0]
    order: list[str] = []
    while ready:
        name = ready.pop()
        order.append(name)
        for user in users.get(name, ()):
            waits[user] -= 1
            if waits[user] == 0:
                ready.append(user)
    placed = set(order)
    return order, [name for name in edges if name not in placed]


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


def on_cycles(edges: Mapping[str, Collection[str]]) -> set[str]:
    """Return the names that name themselves, directly or through others; not what names those."""
    _, left = dependency_order(edges)
    inner = {name: [other for other in edges[name] if other in edges] for name in left}
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
            else:
                seen.add(further)
                ways.append((further, iter(inner[further])))
    users = _reversed(inner)
    found: set[str] = set()
    placed: set[str] = set()
    for root in reversed(finished):
        together: set[str] = set()
        stack = [root]
        while stack:
            name = stack.pop()
            if name not in placed:
                placed.add(name)
                together.add(name)
                stack.extend(users.get(name, ()))
        if len(together) > 1 or root in inner[root]:
            found |= together
    return found


def users_of(edges: Mapping[str, Collection[str]], name: str) -> set[str]:
    """Return everything that names `name`, directly or through others."""
    users = _reversed(edges)
    found: set[str] = set()
    stack = [name]
    while stack:
        for user in users.get(stack.pop(), ()):
            if user not in found:
                found.add(user)
                stack.append(user)
    return found


def _reversed(edges: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    users: dict[str, set[str]] = {}
    for name, named in edges.items():
        for other in named:
            users.setdefault(other, set()).add(name)
    return users
