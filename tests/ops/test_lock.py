"""requirements.lock: everything that runs, exact, with hashes, from wherever packages come from."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_ENTRY = re.compile(
    r"([a-z0-9-]+)==(\S+)( ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n?)+)"
)


def asked_for() -> Iterator[str]:
    """Yield what is needed at run time, with each extra but that of development."""
    yield from PROJECT["dependencies"]
    for name, wanted in PROJECT["optional-dependencies"].items():
        if name != "dev":
            yield from (each for each in wanted if not each.startswith("matrix-flag"))


@pytest.mark.parametrize("line", sorted(set(asked_for())))
def test_what_is_asked_for_is_locked(line: str) -> None:
    """In a version that is taken; `make lock` brings what fell behind."""
    wanted = Requirement(line)
    versions = [
        version
        for name, version, _, _ in _ENTRY.findall(LOCK)
        if name == canonicalize_name(wanted.name)
    ]
    assert versions
    assert all(wanted.specifier.contains(version, prereleases=True) for version in versions)


def test_each_version_is_exact_and_has_hashes() -> None:
    """And nothing else is in the file: no place that packages come from, no option."""
    assert _ENTRY.sub("", LOCK).strip() == ""
    assert len(_ENTRY.findall(LOCK)) > 20
