"""Reads the lock files: which versions they hold, for whom, under which hashes."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

_ENTRY = re.compile(
    r"([a-z0-9-]+)==(\S+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n?)+)"
)


@dataclass(frozen=True)
class Locked:
    """One version of a package."""

    name: str
    version: str
    marker: str
    hashes: frozenset[str]

    def is_for(self, python: str) -> bool:
        """Return whether CPython of this version, on Linux, has it."""
        environment = {
            "python_version": ".".join(python.split(".")[:2]),
            "python_full_version": python,
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "sys_platform": "linux",
        }
        return not self.marker or Marker(self.marker).evaluate(environment)


def locked(path: Path) -> list[Locked]:
    """Return what a lock file holds; refuse one that holds anything else."""
    text = path.read_text(encoding="utf-8")
    assert _ENTRY.sub("", text).strip() == "", path
    return [
        Locked(canonicalize_name(name), version, marker, frozenset(hashes.split()) - {"\\"})
        for name, version, marker, hashes in _ENTRY.findall(text)
    ]


def versions(path: Path, python: str) -> dict[str, str]:
    """Return the version of each package that a Python of this version has by a lock file."""
    return {each.name: each.version for each in locked(path) if each.is_for(python)}
