"""What a sidecar says that it serves, in the headers of its requests. Pure."""

import re
from typing import NamedTuple

from proxy.contract.sync import SnapshotPointer, parse_event_id

__all__ = ["Held"]

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


class Held(NamedTuple):
    """What a sidecar says it serves; None where it does not say."""

    instance: str = ""
    epoch: str | None = None
    revision: int | None = None
    digest: str | None = None
    published: str | None = None
    """When the newest that it has seen was published, as `now_rfc3339` writes it."""

    @classmethod
    def read(
        cls,
        instance: str | None,
        last_event_id: str | None,
        digest: str | None,
        published: str | None = None,
    ) -> "Held":
        """Return what the headers of a request say, as far as they make sense."""
        epoch, revision = parse_event_id(last_event_id or "") or (None, None)
        at = published if published is not None and _TIME.fullmatch(published) else None
        return cls((instance or "")[:128], epoch, revision, digest, at)

    def is_current(self, pointer: SnapshotPointer) -> bool:
        """Return whether this is what the pointer names; the digest decides where it is known."""
        if self.digest is not None:
            return self.digest == pointer.digest
        return (self.epoch, self.revision) == (pointer.epoch, pointer.revision)
