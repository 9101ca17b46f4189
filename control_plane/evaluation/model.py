"""What is asked and answered about an evaluation that nobody is served. Pure."""

from typing import Any

import msgspec

from control_plane.flags.rebucketing import Moved
from proxy.contract.authoring import FlagInput
from proxy.contract.explanation import Explanation
from proxy.contract.problems import Problem

__all__ = ["EvaluationAnswer", "EvaluationInput"]


class EvaluationInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which context, at which time (RFC 3339; now when absent), and of which form of the flag.

    Absent, it is the stored one. `definition` is a draft, as a POST or, for a flag that is there,
    a PUT takes it; it is not saved. `version` is a kept version of the flag, `revision` the version
    that the environment served at that revision. One of the three at most.
    """

    context: dict[str, Any] | None = None
    at: str | None = None
    definition: FlagInput | None = None
    version: int | None = None
    revision: int | None = None
    explain: bool = True


class EvaluationAnswer(msgspec.Struct, frozen=True):
    """What a sidecar would answer, and why.

    `result` is the body of an OFREP answer. `version` is that of the flag, null for a draft;
    `revision` is that of the environment which segments and other flags are taken from.
    `explanation` is null when none was asked for. `moved` and `warnings` are of a draft: what a
    PUT of it would say. `notes` say what may be otherwise where it is served.
    """

    flag: str
    environment: str
    version: int | None
    revision: int
    result: msgspec.Raw
    explanation: Explanation | None
    moved: list[Moved] = []
    warnings: list[Problem] = []
    notes: list[str] = []
