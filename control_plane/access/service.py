"""The keys of programs: make, list, delete.

A key is one change of its project like any other, in the same atomic step as its audit entry, and
server and client keys reach sidecars with the next revision. The key itself is returned once, by
`create`, and nowhere else: it is neither stored nor logged.
"""

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from control_plane.access.model import CreatedKey, KeyInput, KeyRecord, KeyResource
from control_plane.access.roles import ANYWHERE, Role
from control_plane.audit.model import Author
from control_plane.errors import Conflict, Invalid, NotFound
from control_plane.publishing.replica import Replica, now_rfc3339
from control_plane.publishing.state import Change, Edit, ProjectState, RecordKind
from proxy.contract.access import hash_key, key_prefix
from proxy.contract.codes import KeyKind, ProblemCode
from proxy.contract.problems import Problem

__all__ = ["MAX_KEYS", "KeyService", "new_key"]

MAX_KEYS = 1_000
"""Keys of a project. Each server and client key is a line in every snapshot of its environment."""

_MAX_NAME_CHARS = 200
_ROLES = f"one of {', '.join(Role)}"
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)"
)  # RFC 3339


def new_key(kind: KeyKind) -> str:
    """Return a new key: 256 random bits, with its kind in front for people and scanners."""
    return f"mf_{kind}_{secrets.token_urlsafe(32)}"


class KeyService:
    """The keys of all projects."""

    def __init__(
        self, replica: Replica, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._replica = replica
        self._now = now

    def page(
        self,
        project: str,
        *,
        environment: str | None,
        kind: KeyKind | None,
        after: str | None,
        limit: int,
    ) -> tuple[list[KeyResource], str | None]:
        """Return keys in the order of their ids, and the id the next page starts after, if any."""
        records = self._replica.project(project).keys
        wanted = [
            record
            for key_id, record in sorted(records.items())
            if (after is None or key_id > after)
            and (environment is None or record.environment == environment)
            and (kind is None or record.kind is kind)
        ]
        rest = len(wanted) > limit
        return [_resource(r) for r in wanted[:limit]], wanted[limit - 1].id if rest else None

    def get(self, project: str, key_id: str) -> KeyResource:
        """Return a key; raises NotFound."""
        return _resource(_found(self._replica.project(project), key_id))

    async def create(
        self, project: str, environment: str, document: KeyInput, author: Author
    ) -> CreatedKey:
        """Make a key for an environment and return it, with the key itself.

        Raises:
            Invalid: with all problems; Conflict: there are too many keys.
        """
        key = new_key(document.kind)
        record = KeyRecord(
            id=f"k_{secrets.token_hex(8)}",
            name=document.name,
            kind=document.kind,
            project=project,
            environment=environment,
            hash=hash_key(key),
            prefix=key_prefix(key),
            created_at=now_rfc3339(),
            expires_at=_in_utc(document.expires_at),
            role=None if document.role is UNSET else document.role,
        )

        def build(state: ProjectState) -> Change:
            problems = self._problems(document, environment, state)
            if problems:
                raise Invalid(problems[0].message, problems=problems)
            if len(state.keys) >= MAX_KEYS:
                raise Conflict(f"{MAX_KEYS} keys are all a project can have", code="too_many")
            edits = (Edit(RecordKind.KEY, record.id, record),)
            return Change("key.create", author, record.created_at, edits)

        await self._replica.commit(project, build)
        return CreatedKey(**msgspec.structs.asdict(_resource(record)), key=key)

    async def delete(self, project: str, key_id: str, author: Author) -> None:
        """Delete a key: from then on it is a wrong one. Raises NotFound."""

        def build(state: ProjectState) -> Change:
            _found(state, key_id)
            edits = (Edit(RecordKind.KEY, key_id, None),)
            return Change("key.delete", author, now_rfc3339(), edits)

        await self._replica.commit(project, build)

    def _problems(self, document: KeyInput, environment: str, state: ProjectState) -> list[Problem]:
        problems = []
        is_service = document.kind is KeyKind.SERVICE
        if is_service and document.role is UNSET:
            message = "a service key needs a role"
            problems.append(Problem("/role", ProblemCode.MISSING_FIELD, message, _ROLES))
        elif not is_service and document.role is not UNSET:
            message = f"a {document.kind} key has no role; it is for a service key"
            problems.append(Problem("/role", ProblemCode.UNKNOWN_FIELD, message))
        if environment not in state.environments and (environment, is_service) != (ANYWHERE, True):
            message = f"there is no environment {environment[:80]!r}"
            known = f"known: {', '.join(sorted(state.environments)[:20])}"
            problems.append(
                Problem("/environment", ProblemCode.UNKNOWN_ENVIRONMENT, message, known)
            )
        if len(document.name) > _MAX_NAME_CHARS:
            message = f"{len(document.name)} characters, at most {_MAX_NAME_CHARS} are kept"
            problems.append(Problem("/name", ProblemCode.OUT_OF_RANGE, message))
        if document.expires_at is not None:
            ends = _instant(document.expires_at)
            if ends is None:
                message = f"{document.expires_at[:60]!r} is no time"
                hint = "RFC 3339 with a zone, such as 2027-03-01T00:00:00Z"
                problems.append(Problem("/expires_at", ProblemCode.INVALID_DATE, message, hint))
            elif ends <= self._now():
                message = f"{document.expires_at} is past"
                problems.append(Problem("/expires_at", ProblemCode.OUT_OF_RANGE, message))
        return problems


def _found(state: ProjectState, key_id: str) -> KeyRecord:
    record = state.keys.get(key_id)
    if record is None:
        raise NotFound(f"there is no key {key_id[:80]!r}", code="key_not_found")
    return record


def _resource(record: KeyRecord) -> KeyResource:
    return KeyResource(**{n: getattr(record, n) for n in KeyResource.__struct_fields__})


def _instant(text: str) -> datetime | None:
    if not _INSTANT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _in_utc(text: str | None) -> str | None:
    """Return an instant as records carry it; what is none is refused later, with all the rest."""
    instant = None if text is None else _instant(text)
    if instant is None:
        return None
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
