"""Prove what is in an image: the last step of each target of the Dockerfile, run as its user.

Every module of the packages named by `--import` is imported, so a dependency that is missing or
cannot be loaded there fails the build instead of the first start. What `--forbid` names, an
installer or a compiler fails it too: the sidecar's promise is to be light, and a result should
hold nothing that helps an intruder.

Standard library only. It stays in the image, so the same proof can be asked of what is running:
`docker run --rm --entrypoint python IMAGE /opt/matrixflag/verify_image.py --import proxy`.
"""

import argparse
import importlib
import importlib.util
import os
import pkgutil
import shutil
import sys
from collections.abc import Iterable, Iterator

INSTALLERS = ("pip", "ensurepip", "setuptools")
COMPILERS = ("cc", "gcc", "clang", "rustc", "make")


def modules(package: str) -> Iterator[str]:
    """Yield the name of a package and of every module below it."""
    yield package
    paths = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(paths, f"{package}.", onerror=lambda name: None):
        yield module.name


def failures(imports: Iterable[str], forbidden: Iterable[str]) -> Iterator[str]:
    """Yield one line for everything that is wrong with this image."""
    if os.getuid() == 0:
        yield "runs as root; the image must name another user"
    for name in (*INSTALLERS, *forbidden):
        if importlib.util.find_spec(name) is not None:
            yield f"the module {name} can be imported and must not be here"
    for program in COMPILERS:
        if (path := shutil.which(program)) is not None:
            yield f"{path} is here; a result holds no compiler"
    for package in imports:
        try:
            names = list(modules(package))
        except ImportError as error:
            yield f"{package} cannot be imported: {error!r}"
            continue
        for name in names:
            try:
                importlib.import_module(name)
            except Exception as error:  # whatever a module raises, each one is to be named
                yield f"{name} cannot be imported: {error!r}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--import", dest="imports", action="append", default=[], metavar="PACKAGE")
    parser.add_argument("--forbid", default="", metavar="MODULE,...")
    arguments = parser.parse_args()
    found = list(failures(arguments.imports, filter(None, arguments.forbid.split(","))))
    for line in found:
        sys.stderr.write(f"image: {line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
