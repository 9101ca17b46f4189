"""The keys of programs: make, list, change, rotate, delete.

A key is one change of its project like any other, in the same atomic step as its audit entry, and
server and client keys reach sidecars with the next revision. The key itself is returned once, by
`create` and `rotate`, and nowhere else: it is neither stored nor logged. A key that has expired
stays so: neither a change nor a rotation brings it back.
"""

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.access.model import (
    CreatedKey,
    KeyInput,
    KeyPatch,
    KeyRecord,
    KeyResource,
    RotateInput,
    expires_at_ms,
)
from control_plane.access.roles import ANYWHERE, Role
from control_plane.audit.model import Author
from control_plane.documents import invalid
from control_plane.errors import Conflict, NotFound
from control_plane.networks import check_networks, in_one_form, permits
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import Change, Edit, ProjectState, RecordKind
from control_plane.times import now_rfc3339, rfc3339, utc_now
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
        self,
        replica: Replica,
        now: Callable[[], datetime] = utc_now,
        service_life: timedelta | None = None,
    ) -> None:
        """`service_life` is the longest that a service key may live, None for ever."""
        self._replica = replica
        self._service_life = service_life
        self._now = now

    def page(
        self,
        project: str,
        *,
        environment: str | None,
        kind: KeyKind | None,
        created_by: str | None = None,
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
            and (created_by is None or record.created_by == created_by)
        ]
        rest = len(wanted) > limit
        return [_resource(r) for r in wanted[:limit]], wanted[limit - 1].id if rest else None

    def made_by(self, actor: str) -> list[KeyResource]:
        """Return all keys that somebody made, in all projects, that have not expired."""
        now_ms = self._now().timestamp() * 1000
        return [
            _resource(record)
            for _, state in sorted(self._replica.projects.items())
            for _, record in sorted(state.keys.items())
            if record.created_by == actor and (expires_at_ms(record) or now_ms + 1) > now_ms
        ]

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
            expires_at=_in_utc(document.expires_at) or self._latest(document.kind, self._now()),
            role=None if document.role is UNSET else document.role,
            allowed_networks=in_one_form(document.allowed_networks),
            denied_networks=in_one_form(document.denied_networks),
            created_by=author.actor,
        )

        def build(state: ProjectState) -> Change:
            problems = self._problems(document, environment, state)
            if problems:
                raise invalid(problems)
            _check_room(state)
            edits = (Edit(RecordKind.KEY, record.id, record),)
            return Change("key.create", author, record.created_at, edits)

        await self._replica.commit(project, build)
        return _shown_once(record, key)

    async def patch(
        self, project: str, key_id: str, document: KeyPatch, author: Author, *, presented: bool
    ) -> KeyResource:
        """Change a key, and return it. `presented` has it checked that its networks, when they
        are others, let the author in: for the key that is asked with.

        Raises:
            NotFound; Invalid: with all problems;
            Conflict: `key_ended`, or `lockout`: the author would not be let in any more.
        """

        def build(state: ProjectState) -> Change:
            old = _found(state, key_id)
            self._check_alive(old)
            networks = (document.allowed_networks, document.denied_networks)
            problems = [
                *_name_problems("" if document.name is UNSET else document.name),
                *self._expiry_problems(document.expires_at),
                *self._life_problems(old.kind, document.expires_at, _instant(old.created_at)),
                *_network_problems(old.kind, *networks),
            ]
            if problems:
                raise invalid(problems)
            made = _changed(old, document)
            if presented and networks != (UNSET, UNSET):
                _check_lets_in(made, author.address)
            edits = (Edit(RecordKind.KEY, key_id, made),) if made != old else ()
            return Change("key.patch", author, now_rfc3339(), edits)

        await self._replica.commit(project, build)
        return self.get(project, key_id)

    async def rotate(
        self, project: str, key_id: str, document: RotateInput, author: Author
    ) -> CreatedKey:
        """Make a key in the place of another, which ends after the overlap; show it this once.

        Raises:
            NotFound; Invalid: with all problems; Conflict: `key_ended`, `too_many`.
        """
        key = new_key(_found(self._replica.project(project), key_id).kind)
        new_id = f"k_{secrets.token_hex(8)}"

        def build(state: ProjectState) -> Change:
            old = _found(state, key_id)
            self._check_alive(old)
            now = self._now()
            problems = self._expiry_problems(document.expires_at)
            problems += self._life_problems(old.kind, document.expires_at, now)
            if problems:
                raise invalid(problems)
            _check_room(state)
            ends = [_next_end(old, document.expires_at, now), self._latest(old.kind, now)]
            made = msgspec.structs.replace(
                old,
                id=new_id,
                hash=hash_key(key),
                prefix=key_prefix(key),
                created_at=rfc3339(now),
                expires_at=min((each for each in ends if each is not None), default=None),
                replaces=key_id,
                created_by=author.actor,
                own_end=UNSET,
            )
            over = rfc3339(now + timedelta(seconds=document.overlap_s))
            over = over if old.expires_at is None else min(old.expires_at, over)
            ending = msgspec.structs.replace(old, expires_at=over, own_end=_own_end(old))
            edits = (Edit(RecordKind.KEY, new_id, made), Edit(RecordKind.KEY, key_id, ending))
            return Change("key.rotate", author, rfc3339(now), edits)

        await self._replica.commit(project, build)
        return _shown_once(_found(self._replica.project(project), new_id), key)

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
        elif is_service and document.role is Role.ADMIN and environment != ANYWHERE:
            message = "an admin is of a whole project; a manager may be of one environment"
            problems.append(Problem("/environment", ProblemCode.VALUE_DISAGREES, message))
        elif not is_service and document.role is not UNSET:
            message = f"a {document.kind} key has no role; it is for a service key"
            problems.append(Problem("/role", ProblemCode.UNKNOWN_FIELD, message))
        if environment not in state.environments and (environment, is_service) != (ANYWHERE, True):
            message = f"there is no environment {environment[:80]!r}"
            known = f"known: {', '.join(sorted(state.environments)[:20])}"
            problems.append(
                Problem("/environment", ProblemCode.UNKNOWN_ENVIRONMENT, message, known)
            )
        problems += _name_problems(document.name)
        problems += self._expiry_problems(document.expires_at)
        if document.expires_at is not None:
            problems += self._life_problems(document.kind, document.expires_at, self._now())
        problems += _network_problems(
            document.kind, document.allowed_networks, document.denied_networks
        )
        return problems

    def _expiry_problems(self, text: str | UnsetType | None) -> list[Problem]:
        if text is None or text is UNSET:
            return []
        ends = _instant(text)
        if ends is None:
            message = f"{text[:60]!r} is no time"
            hint = "RFC 3339 with a zone, such as 2027-03-01T00:00:00Z"
            return [Problem("/expires_at", ProblemCode.INVALID_DATE, message, hint)]
        if ends <= self._now():
            return [Problem("/expires_at", ProblemCode.OUT_OF_RANGE, f"{text} is past")]
        return []

    def _latest(self, kind: KeyKind, since: datetime) -> str | None:
        """Return when a key of a kind ends at the latest; None for never."""
        if kind is not KeyKind.SERVICE or self._service_life is None:
            return None
        return rfc3339(since + self._service_life)

    def _life_problems(
        self, kind: KeyKind, text: str | UnsetType | None, since: datetime | None
    ) -> list[Problem]:
        """Return what is wrong with an end that is asked for, of a key that began at a time."""
        latest = None if since is None else self._latest(kind, since)
        if latest is None or text is UNSET:
            return []
        ends = _in_utc(text)
        if text is None or (ends is not None and ends > latest):
            message = f"a service key ends within {self._service_life.days} days here"  # type: ignore[union-attr]  # `_latest` has one
            return [
                Problem(
                    "/expires_at", ProblemCode.OUT_OF_RANGE, message, f"at {latest} at the latest"
                )
            ]
        return []

    def _check_alive(self, record: KeyRecord) -> None:
        ends_ms = expires_at_ms(record)
        if ends_ms is not None and ends_ms <= self._now().timestamp() * 1000:
            detail = f"the key {record.prefix}... has expired, and stays so: make another"
            raise Conflict(detail, code="key_ended")


def _check_room(state: ProjectState) -> None:
    if len(state.keys) >= MAX_KEYS:
        raise Conflict(f"{MAX_KEYS} keys are all a project can have", code="too_many")


def _check_lets_in(record: KeyRecord, address: str) -> None:
    if not permits(record.allowed_networks, record.denied_networks, address):
        raise Conflict(
            f"the key that asks would not be taken from {address} any more; say force=true when "
            "that is meant",
            code="lockout",
        )


def _changed(old: KeyRecord, document: KeyPatch) -> KeyRecord:
    """Return a key with what a checked document changes of it."""
    changes: dict[str, object] = {}
    if document.name is not UNSET:
        changes["name"] = document.name
    if document.expires_at is not UNSET:
        changes["expires_at"] = end = _in_utc(document.expires_at)
        if end != old.expires_at:
            changes["own_end"] = UNSET
    for name in ("allowed_networks", "denied_networks"):
        listed = getattr(document, name)
        if listed is not UNSET:
            changes[name] = in_one_form(listed)
    return msgspec.structs.replace(old, **changes)


def _next_end(old: KeyRecord, asked: str | UnsetType | None, now: datetime) -> str | None:
    """Return when the key ends that comes in the place of another."""
    if asked is not UNSET:
        return _in_utc(asked)
    own_end = _own_end(old)
    if own_end is None:
        return None
    made, ends = (datetime.fromisoformat(each) for each in (old.created_at, own_end))
    return rfc3339(now + (ends - made))


def _own_end(record: KeyRecord) -> str | None:
    """Return when a key would end if no rotation had cut its life; None for never."""
    return record.expires_at if record.own_end is UNSET else record.own_end


def _name_problems(name: str) -> list[Problem]:
    if len(name) <= _MAX_NAME_CHARS:
        return []
    message = f"{len(name)} characters, at most {_MAX_NAME_CHARS} are kept"
    return [Problem("/name", ProblemCode.OUT_OF_RANGE, message)]


def _network_problems(
    kind: KeyKind, allowed: tuple[str, ...] | UnsetType, denied: tuple[str, ...] | UnsetType
) -> list[Problem]:
    problems = []
    for name, listed in (("allowed_networks", allowed), ("denied_networks", denied)):
        if listed is UNSET or not listed:
            continue
        if kind in (KeyKind.SERVER, KeyKind.CLIENT):
            message = f"a {kind} key is presented to sidecars, which look at no networks"
            problems.append(Problem(f"/{name}", ProblemCode.UNKNOWN_FIELD, message))
        else:
            problems += check_networks(listed, name)
    return problems


def _shown_once(record: KeyRecord, key: str) -> CreatedKey:
    return CreatedKey(**msgspec.structs.asdict(_resource(record)), key=key)


def _found(state: ProjectState, key_id: str) -> KeyRecord:
    record = state.keys.get(key_id)
    if record is None:
        raise NotFound(f"there is no key {key_id[:80]!r}", code="key_not_found")
    return record


def _resource(record: KeyRecord) -> KeyResource:
    shown = (name for name in KeyResource.__struct_fields__ if name != "last_used_at")
    return KeyResource(**{name: getattr(record, name) for name in shown})


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
    return rfc3339(instant)
