"""Which snapshots are let in at all: signed, of the right place, and not older than what was seen.

Every snapshot that was ever published stays well signed, so signatures alone would let an old one
back in. What was seen is remembered here, over restarts too (`remember`), and nothing older of its
epoch is let in.

Rules:
- Another epoch is let in, because a restore must not wedge a fleet. Epochs are random and have no
  order; but a new one is published after everything that went before (`control_plane.publishing`),
  so with signatures the time of publication, which is signed, says which of two came first.
- With signatures a snapshot of another place than the one seen is refused: the same key signs all.
- A file is the user's own: nothing of this is asked of it but that its revisions count up.
"""

from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused, Verify
from proxy.engine import parse_moment
from proxy.trust import Trust

__all__ = ["Admission", "place_of", "scope_of"]


class Admission:
    """What may be served. Without `trust` no signature is asked for, without `place` no place."""

    def __init__(self, trust: Trust | None = None, place: str | None = None) -> None:
        """Take the place as `project/environment`."""
        self.trust = trust
        self._place = place
        self._served: SnapshotHeader | None = None
        self._remembered: SnapshotHeader | None = None  # until something of now is served

    @property
    def newest(self) -> SnapshotHeader | None:
        """Of all that was seen; what is served may be older, when an earlier process saw it."""
        return self._remembered or self._served

    def verify(self, source: str) -> Verify | None:
        """Return what has to be asked about a header first; it raises SnapshotRefused."""
        if source == "file" or (self.trust is None and self._place is None):
            return None
        return self._verify

    def check(self, header: SnapshotHeader) -> None:
        """Return if a snapshot is not older than what was seen.

        Raises:
            SnapshotRefused: `rolled_back`, or `misplaced` for one of elsewhere.
        """
        for seen in (self._remembered, self._served):
            if seen is not None:
                self._check_after(seen, header)

    def seen(self, header: SnapshotHeader) -> None:
        """Take note of what is served now, which was let in."""
        self._served, self._remembered = header, None

    def remember(self, header: SnapshotHeader) -> None:
        """Take note of the newest that an earlier process has seen, whatever it left to be served.

        One that would not be let in itself is passed over: it would keep all others out.
        """
        try:
            self._verify(header)
        except SnapshotRefused:
            return
        self._remembered = header

    def _check_after(self, seen: SnapshotHeader, header: SnapshotHeader) -> None:
        if place_of(seen) != place_of(header):
            if self.trust is not None:
                raise _misplaced(header, place_of(seen))
        elif seen.epoch == header.epoch:
            if header.revision < seen.revision:
                detail = f"revision {header.revision}, and {seen.revision} was seen"
                raise SnapshotRefused("rolled_back", detail)
        elif self.trust is not None and _published_ms(header) < _published_ms(seen):
            raise SnapshotRefused(
                "rolled_back",
                f"epoch {header.epoch}, published at {header.created_at}, and one of"
                f" {seen.created_at} was seen",
            )

    def _verify(self, header: SnapshotHeader) -> None:
        if self.trust is not None:
            self.trust.verify(header)
        if self._place not in (None, place_of(header)):
            raise _misplaced(header, self._place)


def scope_of(header: SnapshotHeader) -> tuple[str, str, str]:
    """Return what a revision counts within."""
    return header.project, header.environment, header.epoch


def place_of(header: SnapshotHeader) -> str:
    """Return the project and the environment."""
    return f"{header.project}/{header.environment}"


def _misplaced(header: SnapshotHeader, place: str | None) -> SnapshotRefused:
    return SnapshotRefused("misplaced", f"it is of {place_of(header)[:200]!a}, not of {place}")


def _published_ms(header: SnapshotHeader) -> int:
    """Return when a snapshot was published, by the clock of whoever has signed that."""
    return parse_moment(header.created_at) or 0
