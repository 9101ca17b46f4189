"""What a sidecar tells the control plane of itself, its standing, and what is told of the fleet.

Times are "so many milliseconds ago" where a sidecar says them, so that its clock does not matter.
A reader ignores members that it does not know: sidecars may be newer than their control plane.
"""

import re
from typing import Literal

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer

__all__ = [
    "ApplicationStanding",
    "FLEET_PATH",
    "FLEET_REVISIONS_PATH",
    "MAX_LABELS",
    "MAX_KEYS_USED",
    "MAX_STANDING_BYTES",
    "STANDING_PATH",
    "UNCONFIRMED_MS",
    "Fleet",
    "FleetRevisions",
    "InstanceStanding",
    "InstanceState",
    "LabelStanding",
    "RevisionSpread",
    "RevisionStanding",
    "Standing",
    "check_standing",
    "label_problem",
]

STANDING_PATH = "/api/v1/sync/standing"
FLEET_PATH = "/api/v1/fleet"
FLEET_REVISIONS_PATH = "/api/v1/fleet/revisions"

MAX_STANDING_BYTES = 32_768
"""Of the document; one with all texts at their longest, in letters of four bytes, and with as many
keys as are told at a time has 22 KB, an ordinary one 500 bytes."""

MAX_LABELS = 16

MAX_KEYS_USED = 100
"""Told at a time, 8 KB; of more the rest comes with the next."""

UNCONFIRMED_MS = 60_000
"""Two standings that did not come, and what was confirmed before the last that did. With less a
sidecar that is alive would be given up."""

_MAX_INSTANCE_CHARS = 128
_MAX_NAME_CHARS = 128  # of applications, versions and values of labels
_MAX_WORD_CHARS = 64  # of states and kinds of errors
_MAX_ID_CHARS = 200  # of epochs and digests
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,62})")

InstanceState = Literal["current", "behind", "unconfirmed", "missing"]
"""`current`: serves the current content. `behind`: serves another. `unconfirmed`: what it serves
was not confirmed for a minute, its own silence included. `missing`: nothing was heard for five
minutes, or as long as the control plane is told to wait."""


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sidecar says of itself.

    `instance` tells it apart within its environment, `run` is random and another one in each
    process: two that have one name take turns. `version` is the sidecar's own. `epoch`,
    `revision` and `digest` are what it serves, `serving_ms` for how long, `age_ms` how long ago
    that was last known as current, `age_estimated` when that hangs on wall clocks; null before the
    first snapshot. `state` is its source's, `refused` how many snapshots it did not take,
    `last_error` the kind of the last failure and `last_error_ms` how long ago that was. `leaving`
    is said once, by the last one. `keys_used` are hashes of evaluation keys that were presented
    since they were told last, each with how many milliseconds ago; at most `MAX_KEYS_USED`.
    """

    instance: str
    application: str = ""
    application_version: str = ""
    version: str = ""
    labels: dict[str, str] = {}
    epoch: str | None = None
    revision: int | None = None
    digest: str | None = None
    serving_ms: int | None = None
    age_ms: int | None = None
    age_estimated: bool = False
    state: str = ""
    refused: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None
    uptime_ms: int = 0
    run: str = ""
    leaving: bool = False
    keys_used: dict[str, int] = {}


class ApplicationStanding(msgspec.Struct, frozen=True):
    """How the sidecars of one version of an application stand; missing ones are not counted."""

    application: str
    version: str
    instances: int
    current: int


class LabelStanding(msgspec.Struct, frozen=True):
    """How the sidecars with one value of a label stand; the empty value is of those without."""

    value: str
    instances: int
    current: int


class RevisionStanding(msgspec.Struct, frozen=True):
    """How many sidecars, missing ones aside, serve a revision; null stands for none yet."""

    epoch: str | None
    revision: int | None
    instances: int


class InstanceStanding(msgspec.Struct, frozen=True):
    """One sidecar as the control plane knows it. Times are RFC 3339, by the control plane's clock.

    `behind_by` are the revisions that it lacks, null where they cannot be counted: in another
    epoch, or before its first; `behind_since` when the first of them was published, as far as that
    is remembered. `age_ms` is since what it serves was last known to be confirmed, its silence
    included; `silent_ms` since it was last heard, `heard_at`. `last_error` was at `last_error_at`,
    and may be long over. `source` is the state of its source: streaming, polling, disconnected.
    `name_shared` is true when several processes told under this name lately: only the last one is
    seen.
    """

    instance: str
    state: InstanceState
    application: str
    application_version: str
    version: str
    labels: dict[str, str]
    epoch: str | None
    revision: int | None
    digest: str | None
    behind_by: int | None
    behind_since: str | None
    serving_since: str | None
    age_ms: int
    age_estimated: bool
    silent_ms: int
    heard_at: str
    started_at: str
    source: str
    refused: int
    last_error: str | None
    last_error_at: str | None
    name_shared: bool


class Fleet(msgspec.Struct, frozen=True):
    """How the sidecars of an environment stand: all summed up, and a page of them.

    `epoch`, `revision` and `digest` are what they should serve, since `published_at`. `complete`
    is false while what other replicas heard is not known, because Redis is away. `most_behind` is
    in revisions, and `behind_since` is when the first revision was published that somebody lacks.
    Who is silent for `missing_after_ms` is missing.
    `names_shared` are names that several sidecars have, so that there are more than are counted.
    `applications`, `revisions` and `labels`, of the label named by `by`, are the largest groups;
    `matching` are the instances that the filters let through, of which `items` is a page.
    """

    project: str
    environment: str
    epoch: str
    revision: int
    digest: str
    published_at: str
    complete: bool
    instances: int
    states: dict[InstanceState, int]
    most_behind: int
    behind_since: str | None
    oldest_age_ms: int
    missing_after_ms: int
    names_shared: int
    revisions: list[RevisionStanding]
    applications: list[ApplicationStanding]
    labels: list[LabelStanding]
    matching: int
    items: list[InstanceStanding]
    next_cursor: str | None


class RevisionSpread(msgspec.Struct, frozen=True):
    """How a revision spread over the sidecars that were connected when it was published.

    `served` of them do or did serve it, or a later one; `gone` left before they told; the others
    are waited for. `half_ms`, `most_ms` and `all_ms` are how long after it was published half, 99 %
    and all of those that did not go served it; null until then.
    """

    epoch: str
    revision: int
    published_at: str
    connected: int
    served: int
    gone: int
    waiting: int
    half_ms: int | None
    most_ms: int | None
    all_ms: int | None


class FleetRevisions(msgspec.Struct, frozen=True):
    """The last revisions of an environment, newest first."""

    project: str
    environment: str
    complete: bool
    items: list[RevisionSpread]


def check_standing(standing: Standing) -> list[Problem]:
    """Return what is wrong with a standing of good shape; numbers are not looked at."""
    problems = []
    if not (0 < len(standing.instance) <= _MAX_INSTANCE_CHARS and _plain(standing.instance)):
        message = f"from 1 to {_MAX_INSTANCE_CHARS} printable ASCII characters are taken"
        problems.append(_out_of_range(message, "instance"))
    for name, longest in (
        ("application", _MAX_NAME_CHARS),
        ("application_version", _MAX_NAME_CHARS),
        ("version", _MAX_NAME_CHARS),
        ("state", _MAX_WORD_CHARS),
        ("last_error", _MAX_WORD_CHARS),
        ("run", _MAX_WORD_CHARS),
        ("epoch", _MAX_ID_CHARS),
        ("digest", _MAX_ID_CHARS),
    ):
        text = getattr(standing, name)
        if text and not (len(text) <= longest and text.isprintable()):
            problems.append(_out_of_range(f"at most {longest} printable characters", name))
    if len(standing.labels) > MAX_LABELS:
        message = f"{len(standing.labels)} labels, at most {MAX_LABELS} are taken"
        return [*problems, Problem(pointer("labels"), ProblemCode.TOO_MANY, message)]
    for name, value in standing.labels.items():
        if wrong := label_problem(name, value):
            problems.append(_out_of_range(wrong, "labels", name))
    return problems


def label_problem(name: str, value: str) -> str:
    """Return what is wrong with a label, empty for nothing."""
    if not _LABEL_NAME.fullmatch(name):
        return "the name of a label has 1 to 63 of A-Z a-z 0-9 . _ / -, a letter or digit first"
    if len(value) > _MAX_NAME_CHARS or not value.isprintable():
        return f"the value of a label has at most {_MAX_NAME_CHARS} printable characters"
    return ""


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _out_of_range(message: str, *path: str) -> Problem:
    return Problem(pointer(*path), ProblemCode.OUT_OF_RANGE, message)
