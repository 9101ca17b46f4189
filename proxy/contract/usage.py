"""Usage: how often each variant of each flag was evaluated, in which minute.

Sidecars count every evaluation, single and bulk, and report the sums. It is what tells a flag that
is in use from one that nobody asks for any more.
"""

import msgspec

__all__ = ["MAX_COUNT", "USAGE_PATH", "UsageBatch", "UsageCount"]

USAGE_PATH = "/api/v1/usage"
MAX_COUNT = 1_000_000_000
"""Evaluations in one count at most; what is more is told as several."""


class UsageCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many evaluations of a flag gave this variant in the minute of `minute_ms`, Unix time.

    `variant` is null where there was none: an error, or a flag that left the code default in place.
    `reason` is OpenFeature's, or the error code.
    """

    flag: str
    variant: str | None
    reason: str
    minute_ms: int
    count: int


class UsageBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sidecar sends. `id` is a UUIDv7, `instance` names the sidecar, `sent_ms` its clock."""

    id: str
    instance: str
    sent_ms: int
    items: list[UsageCount]
