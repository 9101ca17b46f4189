"""Exposures: which unit was shown which variant, as the sidecar reports it.

A batch carries an id, so that the control plane applies it once however often it is sent. Clients
that evaluated in bulk report to the sidecar what they used, in the shapes at the end.
"""

import msgspec

from proxy.contract.reports import Rejected

__all__ = [
    "EXPOSURES_PATH",
    "Exposure",
    "ExposureBatch",
    "ExposureReport",
    "ReportAnswer",
    "UsedVariant",
]

EXPOSURES_PATH = "/api/v1/exposures"


class Exposure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One unit saw one variant of one flag, `count` times within the hour of `first_seen_ms`.

    `unit_attribute` names the attribute that held the unit. `experiment`, `phase` and
    `allocation_version` are null outside experiments. Times are Unix milliseconds.
    """

    flag: str
    variant: str
    unit: str
    unit_attribute: str
    rule_id: str | None
    reason: str
    epoch: str
    revision: int
    first_seen_ms: int
    count: int
    experiment: str | None = None
    phase: int | None = None
    allocation_version: int | None = None


class ExposureBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sidecar sends. `id` is a UUIDv7, `instance` names the sidecar, `sent_ms` its clock."""

    id: str
    instance: str
    sent_ms: int
    items: list[Exposure]


class UsedVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One variant that a client showed to a unit; `flag`, `variant` and `unit` tell it apart.

    `reason` and `rule_id` are what the bulk answer said, in `reason` and `metadata.ruleId`.
    """

    flag: str
    variant: str
    unit: str
    unit_attribute: str = "targetingKey"
    reason: str = "UNKNOWN"
    rule_id: str | None = None


class ExposureReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends to a sidecar's `POST /v1/exposures`: at most `MAX_BATCH_ITEMS`."""

    exposures: list[UsedVariant]


class ReportAnswer(msgspec.Struct, frozen=True):
    """The sidecar's answer. `ignored` counts those of flags that are not tracked.

    `rejected` are those of a wrong shape, that name no flag or variant the caller can see, whose
    unit is empty, or that have a member above its bound.
    """

    accepted: int
    ignored: int
    rejected: list[Rejected]
