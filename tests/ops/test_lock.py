"""The lock files: everything that is installed, exact, with hashes, wherever packages come from."""

import platform
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.ops.locks import locked, versions

ROOT = Path(__file__).parents[2]
ALL = ROOT / "requirements.lock"
SIDECAR = ROOT / "docker/sidecar.lock"
CONTROL_PLANE = ROOT / "docker/control-plane.lock"
BUILD = ROOT / "docker/build.lock"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def extra(name: str) -> list[str]:
    """Return what an extra asks for beside the product itself."""
    wanted: list[str] = PROJECT["optional-dependencies"][name]
    return [each for each in wanted if not each.startswith("matrix-flag")]


PLAIN = PROJECT["dependencies"]
SERVER = PLAIN + extra("control-plane")
ASKED_FOR = {
    ALL: SERVER + extra("embedded"),
    SIDECAR: PLAIN,
    CONTROL_PLANE: SERVER,
    BUILD: PYPROJECT["build-system"]["requires"],
}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param(p, line, id=f"{p.name} {line}")
        for p, lines in ASKED_FOR.items()
        for line in lines
    ],
)
def test_what_is_asked_for_is_locked(path: Path, line: str) -> None:
    """In a version that is taken; `make lock` brings what fell behind."""
    wanted = Requirement(line)
    found = [e.version for e in locked(path) if e.name == canonicalize_name(wanted.name)]
    assert found
    assert all(wanted.specifier.contains(version, prereleases=True) for version in found)


def needed(lines: list[str]) -> set[str]:
    """Return the names of packages that these requirements lead to, by what is installed here."""
    names, rest = set(), [Requirement(line) for line in lines]
    while rest:
        wanted = rest.pop()
        name = canonicalize_name(wanted.name)
        for line in metadata.requires(name) or [] if name not in names else []:
            each = Requirement(line)
            extras = wanted.extras or {""}
            if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras):
                rest.append(each)
        names.add(name)
    return names


@pytest.mark.parametrize("path", [ALL, SIDECAR, CONTROL_PLANE], ids=lambda path: path.name)
def test_nothing_else_is_locked(path: Path) -> None:
    """A lock leads from what is asked for, and each package in it is led to."""
    assert set(versions(path, platform.python_version())) == needed(ASKED_FOR[path])


@pytest.mark.parametrize("path", [SIDECAR, CONTROL_PLANE], ids=lambda path: path.name)
def test_images_have_what_is_tested(path: Path) -> None:
    """Each version of an image, and each of its hashes, is one of requirements.lock."""
    whole = {(each.name, each.version, each.hashes) for each in locked(ALL)}

    assert {(each.name, each.version, each.hashes) for each in locked(path)} <= whole


def test_sidecar_is_locked_light() -> None:
    """Nothing that the extra of the control plane asks for is in the sidecar's lock."""
    names = {each.name for each in locked(SIDECAR)}

    assert names
    assert not names & {
        canonicalize_name(Requirement(line).name) for line in extra("control-plane")
    }


def test_tests_run_with_what_is_locked() -> None:
    """`make` has installed it; other versions here would prove nothing of the images."""
    wanted = versions(ALL, platform.python_version())

    assert {name: metadata.version(name) for name in wanted} == wanted


def test_image_build_takes_nothing_without_a_hash() -> None:
    """Each installation is by a lock, or of the wheel that was built here and of that alone."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    installs = re.findall(r"pip (?:--python \S+ )?install (.*?)(?: &&|$)", text, re.MULTILINE)

    assert len(installs) == 5
    for options in installs:
        by_lock = re.search(r"--require-hashes\s+-r /locks/[a-z-]+\.lock$", options)
        assert by_lock or options.endswith("--no-deps /wheels/*.whl"), options
