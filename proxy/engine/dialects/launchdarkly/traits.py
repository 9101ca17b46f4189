"""What a flag of LaunchDarkly says beside who gets what: who may see it, and what is recorded.

Availability to clients has two forms:

    clientSideAvailability   {"usingEnvironmentId": bool, "usingMobileKey": bool}
    clientSide               bool, in older files, of clients with an environment's identifier

Both kinds of clients have a key that anybody can read out of an application, as our client keys
are, so either makes a flag available. Where both forms are there the first counts, as in
LaunchDarkly's clients. What has none is not available: older files meant that clients with mobile
keys saw every flag, and nobody said so of this one.

Tracked is what has events of its own (`trackEvents`, of the flag, a rule or the fallthrough), and
what has an experiment.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.engine.dialects.model import Traits

__all__ = ["SAID", "is_mobile_only", "traits"]

SAID = ("clientSideAvailability", "clientSide", "trackEvents", "trackEventsFallthrough")
"""The members of a flag that say it."""


def traits(definition: Mapping[str, Any]) -> Traits:
    """Return what a definition says; of any JSON."""
    return Traits(_is_client_side(definition), _is_tracked(definition))


def is_mobile_only(definition: Mapping[str, Any]) -> bool:
    """Return whether a flag is for clients with mobile keys, and not for those in browsers."""
    available = definition.get("clientSideAvailability")
    if not isinstance(available, dict):
        return False
    return available.get("usingMobileKey") is True and not available.get("usingEnvironmentId")


def _is_client_side(definition: Mapping[str, Any]) -> bool:
    available = definition.get("clientSideAvailability")
    if isinstance(available, dict):
        return any(available.get(name) is True for name in ("usingEnvironmentId", "usingMobileKey"))
    return definition.get("clientSide") is True


def _is_tracked(definition: Mapping[str, Any]) -> bool:
    if any(definition.get(name) is True for name in ("trackEvents", "trackEventsFallthrough")):
        return True
    return any(
        serve.get("trackEvents") is True or _is_experiment(serve.get("rollout"))
        for serve in _serves(definition)
    )


def _serves(definition: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    rules = definition.get("rules")
    serves = [*(rules if isinstance(rules, list) else []), definition.get("fallthrough")]
    return (serve for serve in serves if isinstance(serve, dict))


def _is_experiment(rollout: Any) -> bool:
    return isinstance(rollout, dict) and rollout.get("kind") == "experiment"
