"""Where snapshots come from: the control plane, the disk, a file. All of them end in the holder.

Knows of HTTP, streams and files; knows nothing of what a flag means or how it is answered.
"""

from proxy.sync.file import run_file_source
from proxy.sync.settings import STARTUP_POLICIES, StartupPolicy, SyncSettings
from proxy.sync.source import run_control_plane_source
from proxy.sync.status import STATES, SyncState, SyncStatus

__all__ = [
    "STARTUP_POLICIES",
    "STATES",
    "StartupPolicy",
    "SyncSettings",
    "SyncState",
    "SyncStatus",
    "run_control_plane_source",
    "run_file_source",
]
