"""What a sidecar says that it serves, in the headers of its requests. Pure."""

from typing import NamedTuple

from proxy.contract.sync import SnapshotPointer, parse_event_id

__all__ = ["Held"]


class Held(NamedTuple):
    """What a sidecar says it serves; None where it does not say."""

    instance: str = ""
    epoch: str | None = None
    revision: int | None = None
    digest: str | None = None

    @classmethod
    def read(cls, instance: str | None, last_event_id: str | None, digest: str | None) -> "Held":
        """Return what the headers of a request say, as far as they make sense."""
        epoch, revision = parse_event_id(last_event_id or "") or (None, None)
        return cls((instance or "")[:128], epoch, revision, digest)

    def is_current(self, pointer: SnapshotPointer) -> bool:
        """Return whether this is what the pointer names; the digest decides where it is known."""
        if self.digest is not None:
            return self.digest == pointer.digest
        return (self.epoch, self.revision) == (pointer.epoch, pointer.revision)
