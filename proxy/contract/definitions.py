"""The authoring model: what people and the API see, and what a snapshot carries of it.

`Flag` is what is stored: one flag, configured per environment. `FlagDefinition` is the same flag as
one environment sees it, the `def` of a snapshot's line. Both are definitions, never compiled forms.

Rules:
- Every type is declared here once. From these types come the decoder, the JSON Schema and the
  OpenAPI document. Unknown members are refused everywhere but in `metadata`: an ignored condition
  would serve the wrong users.
- Decoding checks shape only. Meaning (known variants, weights that sum, operators) is
  `proxy.engine.validate`'s. Shapes that msgspec cannot say, "exactly one of these groups", stand in
  `ONE_OF`, which the decoder and the schema both read.

Change together: a new member needs `proxy.engine.validate`, `proxy.engine.compile`,
`docs/wire-format.md` and a look at `proxy.contract.snapshot.SCHEMA`.
"""

from functools import cache
from itertools import combinations
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract.codes import KeyKind
from proxy.contract.problems import Problem

__all__ = [
    "BUCKETS",
    "DEFAULT_ENVIRONMENTS",
    "ONE_OF",
    "TARGETING_KEY",
    "Arm",
    "Condition",
    "DialectName",
    "EnvironmentConfig",
    "Flag",
    "FlagDefinition",
    "FlagType",
    "KeyDefinition",
    "Prerequisite",
    "Ramp",
    "Rollout",
    "Rule",
    "Segment",
    "SegmentDefinition",
    "Serve",
    "Source",
    "Target",
    "UnitList",
    "UnitLists",
    "Unreadable",
    "Window",
]

BUCKETS = 100_000
"""Buckets of a rollout; one is 0.001 %. Weights and ranges count in it."""

TARGETING_KEY = "targetingKey"
"""The OpenFeature name of the attribute that identifies the unit of an evaluation."""

DEFAULT_ENVIRONMENTS = ("development", "staging", "production")
"""What a new project has, and what a file is read for."""

FlagType = Literal["boolean", "string", "integer", "number", "object"]

DialectName = Literal["flagd", "unleash", "growthbook", "launchdarkly", "goff"]
"""The systems whose definitions are evaluated as they are."""


ONE_OF: dict[type[msgspec.Struct], tuple[tuple[str, ...], ...]] = {}
"""Groups of members, by wire name, of which a value of a type has exactly one.

The first member of a group marks it and cannot be left out; the others can.
"""


@cache
def _accepted(kind: type[msgspec.Struct]) -> frozenset[tuple[bool, ...]]:
    """Return which members may be absent together, as a flag per field in order.

    Made once, because `_require_one_of` runs for every condition of every flag that is decoded.
    """
    wire_names = [field.encode_name for field in msgspec.structs.fields(kind)]
    accepted = set()
    for group in ONE_OF[kind]:
        first, *optional = group
        for count in range(len(optional) + 1):
            for chosen in combinations(optional, count):
                present = {first, *chosen}
                accepted.add(tuple(name not in present for name in wire_names))
    return frozenset(accepted)


def _require_one_of(value: msgspec.Struct) -> None:
    """Raise ValueError, which msgspec reports with the path, unless one whole group is present."""
    kind = type(value)
    absent = tuple([member is UNSET for member in msgspec.structs.astuple(value)])
    if absent in _accepted(kind):
        return
    names = (field.encode_name for field in msgspec.structs.fields(kind))
    present = {name for name, missing in zip(names, absent, strict=True) if not missing}
    shapes = ", ".join(group[0] for group in ONE_OF[kind])
    raise ValueError(f"exactly one of {shapes} is needed; got {', '.join(sorted(present)) or '{}'}")


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A test of the context: one of `all`, `any`, `not`, `segment`, or a leaf.

    A leaf is `attribute`, `op`, `values` and the options `negate` and `fold` (compare with case
    folded). Operators over time take the time of the evaluation where there is no `attribute`;
    `from`, `to` and `zone` are theirs. `{"all": []}` is true, `{"any": []}` is false.
    """

    all: list["Condition"] | UnsetType = UNSET
    any: list["Condition"] | UnsetType = UNSET
    not_: "Condition | UnsetType" = msgspec.field(name="not", default=UNSET)
    segment: str | UnsetType = UNSET
    attribute: str | UnsetType = UNSET
    op: str | UnsetType = UNSET
    values: list[Any] | UnsetType = UNSET
    negate: bool | UnsetType = UNSET
    fold: bool | UnsetType = UNSET
    from_: str | UnsetType = msgspec.field(name="from", default=UNSET)
    to: str | UnsetType = UNSET
    zone: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        # a leaf, as most are, is told at a glance
        if self.op is UNSET or not self.all is self.any is self.not_ is self.segment is UNSET:
            _require_one_of(self)


ONE_OF[Condition] = (
    ("all",),
    ("any",),
    ("not",),
    ("segment",),
    ("op", "attribute", "values", "negate", "fold", "from", "to", "zone"),
)


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant's share of a rollout: `weight` of `BUCKETS`, held in half-open `ranges` of them.

    Without `ranges` the arms are laid out in order, one after the other.
    """

    variant: str
    weight: int
    ranges: list[tuple[int, int]] | UnsetType = UNSET


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A split of units, told apart by the attribute `by`, over variants."""

    arms: list[Arm]
    by: str = TARGETING_KEY


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rollout of `variant` that grows, or shrinks, linearly with time; the rest get `else`.

    `from` and `to` are its shares, of `BUCKETS`, at `start` and at `end`, which are RFC 3339.
    """

    variant: str
    else_: str = msgspec.field(name="else")
    start: str
    end: str
    from_: int = msgspec.field(name="from", default=0)
    to: int = BUCKETS
    by: str = TARGETING_KEY


class Serve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is answered: one variant for all, a rollout over several, or a ramp to another."""

    variant: str | UnsetType = UNSET
    rollout: Rollout | UnsetType = UNSET
    ramp: Ramp | UnsetType = UNSET

    def __post_init__(self) -> None:
        _require_one_of(self)


ONE_OF[Serve] = (("variant",), ("rollout",), ("ramp",))


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units, by targeting key, that get `variant` whatever the rules say."""

    variant: str
    units: list[str]


class Prerequisite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another flag of the project that must serve one of `variants`, or this one is off."""

    flag: str
    variants: list[str]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A span of time, RFC 3339: `from` is in it, `until` is not. Absent or null is without end."""

    from_: str | UnsetType | None = msgspec.field(name="from", default=UNSET)
    until: str | UnsetType | None = UNSET


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`serve` for the contexts that fulfil `when`. `id` is unique in its flag and environment.

    Outside of `active` the rule does not match.
    """

    when: Condition
    serve: Serve
    id: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    active: Window | UnsetType = UNSET


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Targeting as another system says it: `definition` is that system's own JSON.

    `options` say what its JSON leaves open. It is evaluated as that system would, to the bit, for
    as long as it is there; who edits the targeting here leaves it out, and ours takes its place.
    """

    dialect: DialectName
    definition: dict[str, Any]
    options: dict[str, Any] = {}


class EnvironmentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one environment serves a flag.

    Evaluated in order: disabled, prerequisites, targets, rules (first match), fallthrough.
    `off_variant` is what a disabled flag answers, and one whose prerequisite fails; absent, the
    application's own default. `salt` keeps the buckets of this flag apart from others'. With a
    `source` that decides in the place of all others but `enabled`, and there are no prerequisites,
    targets and rules; `fallthrough` then is what it serves to most, for those who read the flag.
    """

    fallthrough: Serve
    enabled: bool = False
    salt: str | UnsetType = UNSET
    off_variant: str | UnsetType = UNSET
    prerequisites: list[Prerequisite] = []
    targets: list[Target] = []
    rules: list[Rule] = []
    source: Source | UnsetType = UNSET


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One flag of a project, as it is stored: what it can answer, and how each environment does."""

    key: str
    type: FlagType
    variants: dict[str, Any]
    environments: dict[str, EnvironmentConfig]
    name: str = ""
    description: str = ""
    tags: list[str] = []
    owner: str = ""
    expires: str | UnsetType = UNSET
    metadata: dict[str, Any] = {}
    client_side: bool = False
    track: bool = False
    archived: bool = False


class UnitList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A long list of units: how many, and the blobs that hold them (`proxy.contract.units`)."""

    count: int
    blobs: list[str]


class UnitLists(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The long lists of a segment, kept outside of its definition."""

    included: UnitList | UnsetType = UNSET
    excluded: UnitList | UnsetType = UNSET


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named condition of a project. `included` units are in, `excluded` out, else `when` says.

    Lists of more than a thousand are in `units` instead. With a `source` that decides.
    """

    key: str
    name: str = ""
    description: str = ""
    tags: list[str] = []
    when: Condition = Condition(any=[])
    included: list[str] = []
    excluded: list[str] = []
    units: UnitLists | UnsetType = UNSET
    source: Source | UnsetType = UNSET


class FlagDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A flag as one environment's sidecars receive it: the `def` of a line of kind `flag`."""

    type: FlagType
    variants: dict[str, Any]
    fallthrough: Serve
    salt: str
    enabled: bool = False
    off_variant: str | UnsetType = UNSET
    prerequisites: list[Prerequisite] = []
    targets: list[Target] = []
    rules: list[Rule] = []
    metadata: dict[str, Any] = {}
    client_side: bool = False
    track: bool = False
    source: Source | UnsetType = UNSET


class SegmentDefinition(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A segment as sidecars receive it: the `def` of a line of kind `segment`."""

    when: Condition = Condition(any=[])
    included: list[str] = []
    excluded: list[str] = []
    units: UnitLists | UnsetType = UNSET
    source: Source | UnsetType = UNSET


class Unreadable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in the place of a definition that could not be read where it was written.

    A sidecar that serves a file makes it, so that the flag fails with what is wrong with it. No
    definition looks like it, so that whoever does not know of it cannot read it either.
    """

    unreadable: list[Problem]


class KeyDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An evaluation key as sidecars receive it: the `def` of a line of kind `key`.

    `hash` is `proxy.contract.access.hash_key` of the key; `expires_at_ms` is Unix time, or null.
    """

    hash: str
    kind: KeyKind
    expires_at_ms: int | None = None
