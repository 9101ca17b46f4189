"""Settings of the sidecar: every one with its default, unit and reason, checked together.

It knows names, ranges and which settings exclude each other; it opens nothing but the key file.
All problems are raised at once, each by the name a person typed. Change together with
`docs/settings.md`, which a test compares.
"""

import dataclasses
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from proxy.contract.access import KEY_PATTERN, key_kind
from proxy.contract.codes import KeyKind
from proxy.contract.fleet import MAX_LABELS, Standing, check_standing, label_problem
from proxy.contract.parsers import is_loopback, number, one_of, origins, port_number, words
from proxy.contract.settings import SettingsError, boolean, read, setting
from proxy.sync import STARTUP_POLICIES, StartupPolicy
from proxy.trust import parse_verify_keys

__all__ = ["LogFormat", "ProxySettings"]

LogFormat = Literal["text", "json"]
_LOG_LEVELS = ("debug", "info", "warning", "error")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~%!$&'()*+,;=:@-]+){0,16}")
_PLACE = re.compile(r"[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,64}")
_MAX_KEY_FILE_BYTES = 4096
_MAX_KEYS_FILE_BYTES = 65_536  # eight blocks of PEM are a kilobyte
_MAX_URLS = 32
_MAX_INSTANCE_CHARS = 128  # it travels in a header


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(map(_url, words(text)))
    if not urls:
        raise ValueError("names no URL")
    if len(set(urls)) < len(urls):
        raise ValueError("names a URL twice")
    if len(urls) > _MAX_URLS:
        raise ValueError(f"names more than {_MAX_URLS} URLs")
    return urls


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:  # whose text may quote a password
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is not a URL like http://control-plane:8000")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; the key is a setting of its own")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or fragment")
    return text.rstrip("/")


def _path_prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if not _PATH_PREFIX.fullmatch(prefix):
        raise ValueError("is not the beginning of a path, like /flags")
    return prefix


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    """Return names and values; one without a value is what manifests make of nothing."""
    found: dict[str, str] = {}
    for word in words(text):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            raise ValueError(f"holds {word!r}, which is not NAME=VALUE")
        if name in found:
            raise ValueError(f"names {name!r} twice")
        if problem := label_problem(name, value):
            raise ValueError(f"holds {word[:80]!r}: {problem}")
        found[name] = value
    if len(found) > MAX_LABELS:
        raise ValueError(f"holds {len(found)} labels, at most {MAX_LABELS} are taken")
    return tuple((name, value) for name, value in found.items() if value)


def _project_and_environment(text: str) -> str:
    if not _PLACE.fullmatch(text):
        raise ValueError("is not a project and an environment, like default/production")
    return text


def _header_names(text: str) -> tuple[str, ...]:
    names = words(text.lower())
    for name in names:
        if not _HEADER_NAME.fullmatch(name):
            which = "" if name == text.lower() else f"holds {name!r}, which "
            raise ValueError(f"{which}is not the name of a header")
    return names


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """What the sidecar is told. Times in seconds unless the name says otherwise."""

    control_plane_url: tuple[str, ...] = setting(
        (), "Where flags come from: URLs of the control plane's replicas, by commas", parse=_urls
    )
    key: str | None = setting(None, "Sidecar key for the control plane", secret=True)
    key_file: Path | None = setting(None, "File that holds the sidecar key", parse=Path)
    snapshot: Path | None = setting(
        None, "File of flags to serve instead of a control plane's; watched", parse=Path
    )
    verify_keys: tuple[bytes, ...] = setting(
        (),
        "Public keys, by commas: serve no snapshot that none of them has signed",
        parse=parse_verify_keys,
        secret=True,  # they are not, but somebody may give the private ones
        flag=True,
    )
    verify_keys_file: Path | None = setting(
        None, "File that holds these public keys, one a line, or PEM", parse=Path
    )
    verify_environment: str | None = setting(
        None,
        "Project and environment that snapshots must be of, as default/production",
        parse=_project_and_environment,
    )
    environment: str = setting("production", "Environment that a file of flags is read for")
    flagd_fractional: str = setting(
        "v2",
        "How flagd's `fractional` splits in a file of flagd: v1, v2 or v3, as the flagd it is from",
        parse=one_of("v1", "v2", "v3"),
    )

    host: tuple[str, ...] = setting(
        ("127.0.0.1",), "Addresses to answer evaluations on, by commas", parse=words
    )
    port: int = setting(8016, "Port for evaluations; 0 takes any free one", parse=port_number)
    unix: Path | None = setting(None, "Unix socket for evaluations, beside the port", parse=Path)
    admin_host: tuple[str, ...] = setting(
        ("127.0.0.1",), "Addresses for probes and metrics, by commas", parse=words
    )
    admin_port: int = setting(
        8014, "Port for probes and metrics; 0 takes any free one", parse=port_number
    )
    ready_file: Path | None = setting(
        None, "File to write the bound addresses to, as JSON, once listening", parse=Path
    )

    cache_dir: Path | None = setting(
        None, "Directory that keeps the snapshot and unsent reports over a restart", parse=Path
    )
    startup_policy: StartupPolicy = setting(
        "allow-disk",
        "What to start with: allow-disk, require-fresh or allow-empty",
        parse=one_of(*STARTUP_POLICIES),
    )
    startup_grace_s: float = setting(
        10.0,
        "After this /startupz passes without a snapshot: our outage must not stop a rollout",
        parse=number(float, 0.0, 3600.0),
    )
    first_snapshot_wait_s: float = setting(
        4.0,
        "Evaluations wait this long for the first snapshot; clients give up after 5 s",
        parse=number(float, 0.0, 60.0),
    )
    unready_after_s: float = setting(
        0.0,
        "Age at which /readyz fails; 0 never, because all instances would fail at once",
        parse=number(float, 0.0, 31_536_000.0),
    )
    max_age_s: float | None = setting(
        None,
        "Age from which flags answer code defaults, instead of the environment's; 0 never",
        parse=number(float, 0.0, 31_536_000.0),
    )
    drain_s: float = setting(
        0.0,
        "After SIGTERM go on answering this long, unready, each answer ending its connection",
        parse=number(float, 0.0, 300.0),
    )

    allow_anonymous: bool = setting(
        False, "Answer without evaluation keys on other addresses than loopback", parse=boolean
    )
    cors_origins: tuple[str, ...] = setting(
        (), "Origins whose pages may evaluate, by commas, or *; none by default", parse=origins
    )
    cors_headers: tuple[str, ...] = setting(
        (), "Further request headers that pages may send, by commas", parse=_header_names
    )
    rate_limit: int = setting(
        0,
        "Evaluations a second for each key, and for all without one together; 0 is no limit",
        parse=number(int, 0, 10**6),
    )
    freshness_headers: bool = setting(
        False, "Tell revision and age in headers of each answer", parse=boolean
    )
    keepalive_timeout_s: float = setting(
        75.0,
        "Idle connections are kept this long; clients poll each minute",
        parse=number(float, 1.0, 3600.0),
    )
    max_connections: int = setting(
        10_000,
        "Connections for evaluations at a time; further ones get 503",
        parse=number(int, 1, 1_000_000),
    )
    max_body_bytes: int = setting(
        1_048_576, "Largest request body", parse=number(int, 1024, 67_108_864)
    )

    event_streams: bool = setting(
        True, "Offer pages event streams, which tell them of changes", parse=boolean
    )
    max_streams: int = setting(
        1_000,
        "Event streams at a time, of these connections; further ones get 503",
        parse=number(int, 1, 100_000),
    )
    streams_heartbeat_s: float = setting(
        15.0,
        "Event streams are kept alive this often; proxies cut what is silent for a minute",
        parse=number(float, 1.0, 60.0),
    )
    streams_prefix: str = setting(
        "",
        "Path that a reverse proxy puts before ours, as pages must ask for streams: /flags",
        parse=_path_prefix,
    )

    exposures_interval_s: float = setting(
        5.0,
        "Exposures are reported this often, a fifth more or less",
        parse=number(float, 0.05, 3600.0),
    )
    exposures_max_pending: int = setting(
        50_000, "Exposures kept in memory until reported", parse=number(int, 100, 5_000_000)
    )
    exposures_spool_max_bytes: int = setting(
        67_108_864,
        "Room in the cache directory for unsent exposures",
        parse=number(int, 0, 2**40),
    )
    events_interval_s: float = setting(
        5.0,
        "Events are reported this often, a fifth more or less",
        parse=number(float, 0.05, 3600.0),
    )
    events_max_pending_bytes: int = setting(
        16_777_216,
        "Memory for events that wait; beyond it, and the room on disk, reports of events get 429",
        parse=number(int, 65_536, 2**34),
    )
    events_spool_max_bytes: int = setting(
        67_108_864,
        "Room in the cache directory for unsent events",
        parse=number(int, 0, 2**40),
    )
    usage_interval_s: float = setting(
        50.0,
        "Evaluations are summed up and reported this often, a fifth more or less",
        parse=number(float, 0.05, 50.0),
    )
    usage_spool_max_bytes: int = setting(
        16_777_216,
        "Room in the cache directory for unsent sums of evaluations",
        parse=number(int, 0, 2**40),
    )
    unit_hash_key: str | None = setting(
        None, "Report HMACs of units under this key instead of the units", secret=True
    )

    instance: str = setting("", "Name of this sidecar in reports; the host's name and 8 digits")
    application: str = setting("", "Name of the application that this sidecar is beside")
    application_version: str = setting("", "Version of that application")
    labels: tuple[tuple[str, str], ...] = setting(
        (),
        "Groups that this sidecar is told apart by, at most 16: region=eu,zone=a",
        parse=_labels,
    )
    standing_interval_s: float = setting(
        30.0,
        "The control plane is told this often what is served, if nothing changes; it takes a minute"
        " of silence for a sidecar that is cut off",
        parse=number(float, 0.05, 40.0),
    )
    log_level: str = setting("info", "debug, info, warning or error", parse=one_of(*_LOG_LEVELS))
    log_format: LogFormat = setting("text", "text or json", parse=one_of(*get_args(LogFormat)))

    def __post_init__(self) -> None:
        problems = [*self._source_problems(), *self._listen_problems(), *self._other_problems()]
        if problems:
            raise SettingsError(problems)
        if not self.instance:
            host = socket.gethostname().encode("ascii", "replace").decode()
            name = f"{host[:100]}-{secrets.token_hex(4)}"
            object.__setattr__(self, "instance", name)

    @classmethod
    def load(cls, environ: Mapping[str, str], args: Mapping[str, str | None]) -> Self:
        """Return the settings; the key comes from its file where one is named.

        Raises:
            SettingsError: with every problem.
        """
        return read(cls, environ, args, _with_files)

    @property
    def loopback_only(self) -> bool:
        """Whether evaluations can only be asked for on this machine."""
        return all(is_loopback(host) for host in self.host)

    def _source_problems(self) -> list[str]:
        problems = []
        if not self.control_plane_url and self.snapshot is None:
            problems.append("give --control-plane-url with MATRIXFLAG_KEY, or --snapshot FILE")
        if self.control_plane_url and self.snapshot is not None:
            problems.append("--control-plane-url and --snapshot exclude each other")
        if self.key is not None and self.key_file is not None:
            problems.append("MATRIXFLAG_KEY and --key-file exclude each other")
        if self.control_plane_url and self.key is None and self.key_file is None:
            problems.append("MATRIXFLAG_KEY (or --key-file) is needed with --control-plane-url")
        if self.key is not None:
            problems += [f"MATRIXFLAG_KEY {problem}" for problem in _key_problems(self.key)]
        if self.verify_keys and self.verify_keys_file is not None:
            problems.append("--verify-keys and --verify-keys-file exclude each other")
        if self.snapshot is not None and self.verify_environment is not None:
            problems.append("--verify-environment: a file is of no project; use --environment")
        if self.snapshot is not None and (self.verify_keys or self.verify_keys_file is not None):
            problems.append("--verify-keys: a file of --snapshot is not signed; leave one out")
        return problems

    def _listen_problems(self) -> list[str]:
        problems = [
            f"{flag}: no address is given"
            for flag, hosts in (("--host", self.host), ("--admin-host", self.admin_host))
            if not hosts
        ]
        if self.port == self.admin_port != 0:
            problems.append(f"--port and --admin-port are both {self.port}")
        if self.snapshot is not None and not self.loopback_only and not self.allow_anonymous:
            problems.append(
                f"--host {','.join(self.host)}: other machines could evaluate, and a file holds no"
                " evaluation keys; listen on 127.0.0.1, or say --allow-anonymous"
            )
        return problems

    def _other_problems(self) -> list[str]:
        problems = []
        if not self.environment:
            problems.append("--environment is empty")
        if len(self.instance) > _MAX_INSTANCE_CHARS or not (
            self.instance.isascii() and self.instance.isprintable()
        ):
            problems.append(f"--instance: at most {_MAX_INSTANCE_CHARS} printable ASCII characters")
        told = Standing("-", self.application, self.application_version)
        for problem in check_standing(told):
            name = problem.pointer.lstrip("/").replace("_", "-")
            problems.append(f"--{name}: {problem.message}")
        return problems


def _key_problems(key: str) -> list[str]:
    """Return what is wrong with a sidecar key, without any part of it."""
    if not KEY_PATTERN.fullmatch(key):
        return ["is not a key (mf_sidecar_ and 43 characters)"]
    kind = key_kind(key)
    return [] if kind is KeyKind.SIDECAR else [f"is a {kind} key; a sidecar key is needed"]


def _with_files(values: dict[str, Any]) -> list[str]:
    """Put what is in files in the place of their paths; return what is wrong with them."""
    problems: list[str] = []
    path = values.get("key_file")
    if path is not None and "key" not in values:
        try:
            key = _read_file(path, _MAX_KEY_FILE_BYTES, "a key")
        except ValueError as error:
            problems.append(f"--key-file {path}: {error}")
        else:
            wrong = _key_problems(key)
            problems += [f"--key-file: its content {problem}" for problem in wrong]
            if not wrong:
                values["key"] = key
                del values["key_file"]
    path = values.get("verify_keys_file")
    if path is not None and not values.get("verify_keys"):
        try:
            values["verify_keys"] = parse_verify_keys(
                _read_file(path, _MAX_KEYS_FILE_BYTES, "keys")
            )
        except ValueError as error:
            problems.append(f"--verify-keys-file {path}: {error}")
        else:
            del values["verify_keys_file"]
    return problems


def _read_file(path: Path, max_bytes: int, what: str) -> str:
    """Return what is in a file, without the space around it.

    Raises:
        ValueError: with the rest of a sentence that begins with its path.
    """
    try:
        with path.open("rb") as file:
            return file.read(max_bytes).decode("ascii").strip()
    except OSError as error:
        raise ValueError(error.strerror) from None
    except UnicodeDecodeError:
        raise ValueError(f"does not hold {what}") from None
