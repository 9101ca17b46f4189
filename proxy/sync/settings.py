"""How the sidecar talks to its control plane: one frozen record, made by the composition root.

Which project and environment it gets is not set here: the key says it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from proxy.contract.settings import SettingsError
from proxy.contract.snapshot import MAX_SNAPSHOT_BYTES
from proxy.contract.sync import IDLE_S

__all__ = ["STARTUP_POLICIES", "StartupPolicy", "SyncSettings"]

StartupPolicy = Literal["allow-disk", "require-fresh", "allow-empty"]
STARTUP_POLICIES: tuple[StartupPolicy, ...] = ("allow-disk", "require-fresh", "allow-empty")

_MAX_INSTANCE_CHARS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """Settings of the control-plane source. Seconds unless the name says otherwise."""

    control_plane_urls: tuple[str, ...]
    """Of each replica, or of what stands before them."""
    key: str = field(repr=False)
    """The sidecar key."""
    instance: str = ""
    """What this sidecar calls itself, shown by the control plane."""
    cache_dir: Path | None = None
    """Where the last snapshot is kept for the next start; None keeps none."""
    startup_policy: StartupPolicy = "allow-disk"
    """`require-fresh` leaves the cache unread; the others start from it."""
    max_snapshot_bytes: int = MAX_SNAPSHOT_BYTES
    max_blob_bytes_in_all: int = 1024 * 1024 * 1024
    """Of the unit lists of one snapshot: 90 million units; more is an attack on memory."""
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    """Until the headers of an answer, and between two pieces of a snapshot."""
    fetch_timeout_s: float = 120.0
    """For a whole snapshot: 64 MB at 0.5 MB/s. For its blobs too; what came in time is kept."""
    blob_timeout_s: float = 30.0
    """For one blob: 12 MB at 0.5 MB/s, and most have 50 KB."""
    blob_connections: int = 4
    """Blobs that are fetched at once: a sidecar with a new list of a million fetches 256."""
    blob_patience_s: float = 2.0
    """After fetching blobs for so long a newer snapshot takes the place of the one they are for."""
    idle_s: float = IDLE_S
    """A stream without a heartbeat for this long is dead."""
    poll_interval_s: float = 15.0
    """Between polls while there is no stream; about what a heartbeat would have given."""
    reconcile_interval_s: float = 300.0
    """Between comparisons of the digest that are made whatever the stream says."""
    stream_retry_interval_s: float = 60.0
    """Between attempts at a stream that the control plane said it does not have."""
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    denied_backoff_base_s: float = 2.0
    denied_backoff_cap_s: float = 300.0
    """After 401, 403 or a refused snapshot: asking again soon cannot help."""
    cache_interval_s: float = 2.0
    """Between writes of the cache, at least: changes come in bursts, and each write is a sync."""
    confirm_interval_s: float = 60.0
    """Between notes on disk that the cached snapshot is still current."""
    draw: Callable[[], float] | None = field(default=None, repr=False)
    """Randomness in [0, 1) for the delays; None is `random.random`."""

    def __post_init__(self) -> None:
        """Refuse what could not work, all of it at once."""
        problems = [problem for url in self.control_plane_urls for problem in _url_problems(url)]
        if not self.control_plane_urls or len(set(self.control_plane_urls)) < len(
            self.control_plane_urls
        ):
            problems.append("control_plane_urls: at least one is needed, and none twice")
        if not self.key:
            problems.append("key: a sidecar key is needed with control_plane_urls")
        elif not (self.key.isascii() and self.key.isprintable()):
            problems.append("key: holds characters that a key cannot have")
        if len(self.instance) > _MAX_INSTANCE_CHARS or not (
            self.instance.isascii() and self.instance.isprintable()
        ):
            problems.append(f"instance: at most {_MAX_INSTANCE_CHARS} printable ASCII characters")
        if self.startup_policy not in STARTUP_POLICIES:
            problems.append(f"startup_policy: one of {', '.join(STARTUP_POLICIES)}")
        if problems:
            raise SettingsError(problems)


def _url_problems(url: str) -> list[str]:
    """Return what is wrong with the control plane's address, without repeating a secret in it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # whose text may quote a password
        return ["control_plane_urls: is not a URL"]
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        return ["control_plane_urls: http://HOST[:PORT] or https://HOST[:PORT] is needed"]
    if parts.username is not None or parts.password is not None:
        return ["control_plane_urls: holds credentials; give a sidecar key instead"]
    if parts.query or parts.fragment:
        return ["control_plane_urls: must not have a query or a fragment"]
    return []
