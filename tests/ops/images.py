"""Builds the images of the Dockerfiles for real, without an engine: buildah in chroot isolation.

The base image they name is made by debootstrap, from the Debian mirror of this machine's own apt
sources, and stands under that name in a storage of our own below the user's cache directory, with
all layers: the first run takes a minute, the next ones seconds. Root is needed to mount; without
it, or without the tools, the tests skip (in CI they fail).

It knows the Dockerfiles' names of images, not what is in them; `boxes.py` runs the results.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.tools import missing, require

ROOT = Path(__file__).parents[2]
_CA_IN_DEBIAN = "/etc/ssl/certs/ca-certificates.crt"
_PACKAGES = "python3,python3-venv,ca-certificates"
_BUILD_S = 600.0  # debootstrap and a cold pip on a slow connection; seconds otherwise
_KEPT_IMAGES = 120
"""Layers are images too, about 20 a target; past this many the old ones are thrown away."""


class Storage:
    """Images and containers of these tests, apart from whatever else this machine holds."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._driver = "overlay"
        if self._run("info", check=False).returncode != 0:
            self._driver = "vfs"  # slower, but works where overlay cannot be mounted on this disk

    def _run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        # runroot counts mounts and must not outlive a boot, so it is no part of the cache
        places: list[str | Path] = ["--root", self._directory, "--runroot", _runroot()]
        done = subprocess.run(
            ["buildah", *places, "--storage-driver", self._driver, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_S,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"buildah {arguments[0]}:\n{done.stdout[-4000:]}{done.stderr}")
        return done

    def has(self, image: str) -> bool:
        return self._run("inspect", "--type", "image", image, check=False).returncode == 0

    def tag(self, image: str, name: str) -> None:
        self._run("tag", image, name)

    def build(self, name: str, context: Path, target: str | None = None) -> str:
        """Build an image, from kept layers where nothing changed, and return its name."""
        options: list[str | Path] = ["--isolation", "chroot", "--pull-never", "--layers"]
        options += ["--force-rm"]  # leave no container of a step that failed
        if (bundle := _ca_bundle()) is not None:
            options += ["--volume", f"{bundle}:{_CA_IN_DEBIAN}:ro"]
        if target is not None:
            options += ["--target", target]
        self._run("bud", *options, "--tag", name, context)
        return name

    def import_tree(self, name: str, fill: Path) -> None:
        """Make an image of a directory."""
        container = self._run("from", "scratch").stdout.strip()
        mounted = self._run("mount", container).stdout.strip()
        subprocess.run(["cp", "-a", f"{fill}/.", mounted], check=True)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._run("config", "--env", f"PATH={path}", "--cmd", "python3", container)
        self._run("commit", "--quiet", "--rm", container, name)

    def config(self, image: str) -> dict[str, Any]:
        """Return the configuration that a runtime would start the image with."""
        text = self._run("inspect", "--type", "image", image).stdout
        config: dict[str, Any] = json.loads(text)["OCIv1"]["config"]
        return config

    @contextlib.contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Mount the files of an image for as long as the context lasts."""
        container = self._run("from", "--pull-never", image).stdout.strip()
        try:
            yield Path(self._run("mount", container).stdout.strip())
        finally:
            self._run("rm", container)

    def forget_old(self) -> None:
        """Keep the cache bounded: with too many images, throw all unnamed ones away."""
        if len(self._run("images", "--all", "--quiet").stdout.split()) > _KEPT_IMAGES:
            self._run("rmi", "--prune", "--force", check=False)


def _runroot() -> Path:
    return Path(tempfile.gettempdir()) / f"matrixflag-images-{os.getuid()}"


def _ca_bundle() -> Path | None:
    """Return the certificates this machine trusts: a proxy's own may be among them."""
    paths = ssl.get_default_verify_paths()
    return Path(paths.cafile).resolve() if paths.cafile else None


def _mirror() -> str:
    """Return the address of the Debian mirror that apt uses here."""
    release = platform.freedesktop_os_release()
    if release["ID"] != "debian":
        missing("a Debian mirror among the sources of apt")
    wanted = "$(RELEASE) $(REPO_URI)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listed.stdout.splitlines():
        name, _, address = line.partition(" ")
        if name == release["VERSION_CODENAME"]:
            return address
    return missing("a Debian mirror among the sources of apt")


def base_name(dockerfile: Path) -> str:
    """Return the image that a Dockerfile builds on: `python:3.13-slim-trixie`."""
    match = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile.read_text(encoding="utf-8"), re.M)
    assert match is not None
    return match[1]


def _make_base(storage: Storage, name: str) -> None:
    """Make the base image under its name, unless one of the same recipe is there."""
    suite = name.rpartition("-")[2]
    recipe = hashlib.sha256(f"{suite} {_PACKAGES}".encode()).hexdigest()[:12]
    kept = f"localhost/base-{suite}:{recipe}"
    if not storage.has(kept):
        with tempfile.TemporaryDirectory() as scratch:
            tree = Path(scratch, "tree")
            command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite]
            done = subprocess.run(
                [*command, tree, _mirror()],
                capture_output=True,
                text=True,
                check=False,
                timeout=_BUILD_S,
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr
            (tree / "usr/bin/python").symlink_to("python3")
            for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
                shutil.rmtree(tree / cache)
            storage.import_tree(kept, tree)
    storage.tag(kept, f"localhost/{name}")


@functools.cache
def storage() -> Storage:
    """Return the storage with the base image in it."""
    if os.getuid() != 0:
        missing("root, to build images")
    for program in ("buildah", "debootstrap", "unshare", "setpriv"):
        require(program)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "matrixflag/images"
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_suffix(".lock")):
        made = Storage(directory)
        made.forget_old()
        _make_base(made, base_name(ROOT / "Dockerfile"))
    return made


@functools.cache
def built(target: str) -> str:
    """Build one of our images, once a session, and return its name."""
    images = storage()
    context = ROOT / "docs/examples/sample-app" if target == "sample-app" else ROOT
    stage = None if target == "sample-app" else target
    return images.build(f"localhost/matrixflag/{target}:test", context, stage)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
