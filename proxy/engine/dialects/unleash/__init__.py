"""Unleash's toggles: strategies, constraints, variants and parents, as the SDKs evaluate them.

What is stored is a toggle as `/api/client/features` has it; `segments` are stored beside it. The
semantics are those of Unleash's client specification and, where that is silent, of its own engine.

    reading        a file: features and segments, or the events of a delta
    toggles        a toggle as a rule program, for both questions: `isEnabled` and `getVariant`
    strategies     what a strategy holds for
    constraints    what a constraint holds for
    variants       weights, overrides, and what payloads stand for
    context        which member of a context is which field
    translation    the problems and bounds of one translation

Not kept, each with a warning: what is drawn at random at each call; the host of the application;
strategies that are code.
"""

from collections.abc import Mapping
from typing import Any

from proxy.engine.dialects.model import Dialect, Traits
from proxy.engine.dialects.options import BOOLEAN, TEXT, one_of
from proxy.engine.dialects.unleash.context import CONFIGURED
from proxy.engine.dialects.unleash.reading import COMPANIONS, read, segment
from proxy.engine.dialects.unleash.toggles import ANSWER, VARIANT, names, translate
from proxy.engine.dialects.within import objects

__all__ = ["DIALECT"]

_CONFIGURED = {
    name: TEXT._replace(assumed=f"a context without {name} has none, where SDKs add theirs")
    for name in CONFIGURED
}


def _depends(definition: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields that SDKs are configured with and a toggle or a segment looks at."""
    named: set[Any] = set()
    for node in objects(definition):
        named.update(v for n in _FIELD_MEMBERS if (v := node.get(n)).__class__ is str)
    return frozenset(named.intersection(CONFIGURED))


_FIELD_MEMBERS = ("contextName", "stickiness")


def _traits(definition: Mapping[str, Any]) -> Traits:
    """Return whether uses are recorded, which Unleash calls impression data."""
    return Traits(track=definition.get("impressionData") is True)


DIALECT = Dialect(
    "unleash",
    read,
    translate,
    names,
    segment,
    lambda _definition: (),
    options={**_CONFIGURED, ANSWER: one_of(VARIANT)},
    file_options={**_CONFIGURED, COMPANIONS: BOOLEAN},
    traits=_traits,
    depends=_depends,
)
