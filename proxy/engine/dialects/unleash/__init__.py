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

from proxy.engine.dialects.model import Dialect
from proxy.engine.dialects.unleash.reading import read, segment
from proxy.engine.dialects.unleash.toggles import names, translate

__all__ = ["DIALECT"]

DIALECT = Dialect("unleash", read, translate, names, segment, lambda _definition: ())
