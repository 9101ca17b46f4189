"""The versions of a flag, and going back to one of them.

Going back makes a new version with the content of an old one, salts and ranges included, so that
units get again what they got then. It is validated as any write is: what the flag referred to may
be gone.
"""

from collections.abc import AsyncIterator

import msgspec

from control_plane.audit.model import Author, HistoryEntry, RevertInput
from control_plane.documents import Precondition
from control_plane.errors import Conflict, NotFound
from control_plane.flags.authoring import Draft
from control_plane.flags.model import Written
from control_plane.flags.service import FlagService, check_environment, find_flag
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import FlagRecord, ProjectState
from control_plane.store.keys import HISTORY_VERSIONS
from proxy.contract.definitions import Flag

__all__ = ["HistoryService"]

_PIECE = 10
"""Versions read at a time. One may have megabytes, and all of them would fill the memory."""


class HistoryService:
    """The history of flags."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def page(
        self, project: str, key: str, before: int | None, limit: int
    ) -> tuple[list[HistoryEntry], int | None]:
        """Return versions below `before`, newest first, and where the next page starts, if any.

        Raises:
            NotFound: there is and was no such flag; Unavailable: Redis did not answer.
        """
        found = False
        older: list[HistoryEntry] = []
        async for entry in self.versions(project, key):
            found = True
            if before is None or entry.version < before:
                older.append(entry)
            if len(older) > limit:
                break
        if not found:
            raise _no_flag(key)
        return older[:limit], older[limit - 1].version if len(older) > limit else None

    async def revert(
        self,
        project: str,
        environment: str,
        document: RevertInput,
        author: Author,
        precondition: Precondition,
        *,
        rebucket: bool,
    ) -> Written:
        """Give a flag the content of an earlier version, also one that was deleted since.

        With `document.environment` only the configuration there goes back.

        Raises:
            NotFound: the flag or the version is not kept; Invalid: what it would be makes no sense
            any more; PreconditionFailed; Conflict: `rebucketing`, `version_is_deletion`;
            Unavailable: Redis did not answer.
        """
        entry = await self._version(project, document)
        last = await self._replica.last_version(project, document.flag)
        only = document.environment

        def build(state: ProjectState, _now_ms: int) -> tuple[Draft, FlagRecord | None]:
            check_environment(state, environment)
            if only is not None:
                check_environment(state, only)
                record = find_flag(state, document.flag)
                precondition(record.version)
                return Draft(_with_configuration(record.flag, entry, only)), record
            current = state.flags.get(document.flag)
            if current is not None:
                precondition(current.version)
            return Draft(entry), current

        return await FlagService(self._replica).write(
            project,
            only or environment,
            "flag.revert",
            author,
            build,
            rebucket=rebucket,
            first_version=last + 1,
        )

    async def _version(self, project: str, document: RevertInput) -> Flag:
        kept: list[int] = []
        async for entry in self.versions(project, document.flag):
            kept.append(entry.version)
            if entry.version != document.version:
                continue
            if entry.flag is None:
                message = f"in version {entry.version} the flag was deleted"
                raise Conflict(message, code="version_is_deletion")
            return entry.flag
        if not kept:
            raise _no_flag(document.flag)
        raise NotFound(
            f"version {document.version} of {document.flag!r} is not kept; "
            f"kept are {kept[-1]} to {kept[0]}",
            code="version_not_found",
        )

    async def versions(self, project: str, key: str) -> AsyncIterator[HistoryEntry]:
        """Yield the versions of a flag, newest first, read as far as somebody asks for them."""
        last: int | None = None
        for start in range(0, HISTORY_VERSIONS, _PIECE):
            entries = await self._replica.history(project, key, start, _PIECE)
            for entry in entries:
                # A version made meanwhile shifts the others: the first ones were here before.
                if last is None or entry.version < last:
                    last = entry.version
                    yield entry
            if len(entries) < _PIECE:
                return


def _no_flag(key: str) -> NotFound:
    return NotFound(f"there is no flag {key[:128]!r}", code="flag_not_found")


def _with_configuration(flag: Flag, old: Flag, environment: str) -> Flag:
    """Return the flag with its old configuration in one environment, of today's variants."""
    config = old.environments.get(environment)
    environments = {**flag.environments}
    if config is None:
        environments.pop(environment, None)
    else:
        environments[environment] = config
    return msgspec.structs.replace(flag, environments=environments)
