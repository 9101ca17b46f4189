"""What goes wrong on the way to the control plane, said in the few words that are counted.

SyncError
  kind `connect`, `timeout`, `idle`, `closed`: the network's, or a control plane that is away
  kind `http_<...>`: the control plane refused the request
  kind `protocol`, `behind`: the control plane said something that cannot be right
  kind `blob`: a blob of units came, and is not what its name says
  kind `cache`: the disk's
  kind `internal`: ours
Superseded
  none of these: nothing went wrong, and there is something newer
"""

__all__ = ["Superseded", "SyncError"]

_DENIED = frozenset({"http_401", "http_403"})
_UNSUPPORTED = frozenset({"http_404", "http_501"})


class SyncError(Exception):
    """A stream or a fetch failed; asking again later may help.

    `retry_after_s` is what the control plane asked for, None if nothing.
    """

    def __init__(self, kind: str, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def denied(self) -> bool:
        """Whether the key was not accepted, so that asking again soon only does harm."""
        return self.kind in _DENIED

    @property
    def unsupported(self) -> bool:
        """Whether the control plane does not have what was asked for."""
        return self.kind in _UNSUPPORTED


class Superseded(Exception):
    """A newer snapshot was published while the blobs of this one were being fetched."""
