"""Where snapshots come from: the control plane, the disk, a file. All of them end in the holder.

Knows of HTTP, streams and files; knows nothing of what a flag means or how it is answered. The
sources are taken from their own modules, `source` and `file`, so that a sidecar loads only the one
it uses.
"""

from proxy.sync.settings import STARTUP_POLICIES, StartupPolicy, SyncSettings
from proxy.sync.status import BLOB_OUTCOMES, DELTA_OUTCOMES, STATES, SyncState, SyncStatus

__all__ = [
    "BLOB_OUTCOMES",
    "DELTA_OUTCOMES",
    "STARTUP_POLICIES",
    "STATES",
    "StartupPolicy",
    "SyncSettings",
    "SyncState",
    "SyncStatus",
]
