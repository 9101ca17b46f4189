"""Why a flag answered what it did: what sidecar, control plane and command line say alike.

For people first. Each step and each condition says in `because`, in a sentence, why it is as it
is; the members beside it are the same for programs. `matched` is null where nothing was looked at:
a step that was not reached, a condition whose group was decided before it.

Values of the context are shown as they are while they are short; a longer one is cut, and text then
(`proxy.engine.shown`).
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract.problems import Problem

__all__ = [
    "ConditionTrace",
    "Explanation",
    "RangeTrace",
    "SplitTrace",
    "Step",
]


class RangeTrace(msgspec.Struct, omit_defaults=True):
    """One piece of a split: buckets from `low` on and below `high`, and what is served there."""

    low: int
    high: int
    variant: str | None
    """Null where nothing is served, so that the next step is tried, or an error is."""
    matched: bool = False


class SplitTrace(msgspec.Struct, omit_defaults=True):
    """How a unit was told apart: what was hashed, the bucket that gave, and who holds it.

    `unit` is absent, and `bucket` null, where the context has none.
    """

    by: str
    bucket: int | None
    buckets: int
    """How many there are: the bucket is below it."""
    unit: Any = UNSET
    hash: str = ""
    hashed: str = ""
    """The key of the hash: salt and unit."""
    ranges: list[RangeTrace] = []
    more_ranges: int = 0
    """Ranges there are besides those shown."""
    ramp: str = ""
    """Of a share that moves with time: where it stands, in words."""


class ConditionTrace(msgspec.Struct, omit_defaults=True):
    """One condition, and the conditions in it.

    `kind` is `all`, `any`, `not`, `segment`, `leaf`, `window` (of time), `share` (of units), `flag`
    (what another one serves), `included` or `excluded` (lists of a segment), `always` or `never`.
    """

    kind: str
    condition: str
    """The condition as a person would say it."""
    matched: bool | None
    because: str = ""
    attribute: str = ""
    value: Any = UNSET
    """What the context has there; absent when nothing."""
    op: str = ""
    values: list[Any] = []
    """What it was compared with: the first of them."""
    split: SplitTrace | UnsetType = UNSET
    items: list["ConditionTrace"] = []
    more_items: int = 0
    """Conditions there are besides those shown."""


StepKind = Literal[
    "enabled", "since", "prerequisite", "gate", "targets", "rule", "fallthrough", "more"
]


class Step(msgspec.Struct, omit_defaults=True):
    """One thing that is looked at on the way to an answer, in order.

    `enabled`: on or off. `prerequisite`: what another flag has to serve; `steps` are that flag's.
    `targets`, `rule` and `fallthrough` are those of the definition. `since` says from when on these
    steps are the ones, `gate` is any other condition that has to hold; our own definitions have
    neither. `more` stands for steps that are not shown.
    """

    step: StepKind
    matched: bool | None
    because: str
    decides: bool = False
    """Whether the answer was found here."""
    id: str = ""
    """Of a rule."""
    index: int | UnsetType = UNSET
    """Of a rule or a prerequisite: its place in its list, from 0."""
    flag: str = ""
    """Of a prerequisite: the flag that is asked."""
    wanted: list[str] = []
    """Of a prerequisite: the variants that will do."""
    condition: ConditionTrace | UnsetType = UNSET
    split: SplitTrace | UnsetType = UNSET
    variant: str | UnsetType = UNSET
    """What is served here, or by the other flag; empty for the application's own default, absent
    for an error."""
    reason: str = ""
    """Of what is served: the reason, or the error code."""
    steps: list["Step"] = []


class Explanation(msgspec.Struct, omit_defaults=True):
    """What a flag answers to a context at a time, and every step on the way there.

    `result` is the body that an evaluation over OFREP answers, byte for byte. `because` says in a
    sentence what decided. `problems` are those of a flag that cannot be used, `nearest` the keys
    that were perhaps meant when there is no such flag.
    """

    flag: str
    at: str
    result: msgspec.Raw
    because: str
    steps: list[Step] = []
    problems: list[Problem] = []
    nearest: list[str] = []
    shortened: bool = False
    """Whether it would have become too long, so that parts of it are left out."""
    stale: bool = False
    """Whether a sidecar does not answer this now, because its flags are too old; `result` is what
    it answers once they are confirmed."""
