"""Whether a Redis would throw keys of ours away when it is full, which no error ever tells."""

from control_plane.store.connection import Connections

__all__ = ["evicting"]

_KEEPS_ALL = "noeviction"


async def evicting(connections: Connections) -> dict[str, str]:
    """Return the `maxmemory-policy` of each master that evicts, by its address.

    A server that keeps to itself what it does is not among them.

    Raises:
        RedisError: a server did not answer, or takes no such question from us.
    """

    async def ask() -> dict[str, str]:
        found = {}
        for (host, port), master in (await connections.commands.masters()).items():
            policy = (await master.info("memory")).get("maxmemory_policy", _KEEPS_ALL)
            if policy != _KEEPS_ALL:
                found[f"{host}:{port}"] = policy
        return found

    return await connections.run("info", ask)
