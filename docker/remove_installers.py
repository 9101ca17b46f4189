"""Remove pip, setuptools, wheel and ensurepip from the interpreter that runs this.

For the runtime stage of the Dockerfile: the base image brings them for people who build on it, and
a result needs none. Knows nothing of the product. What it did not find is no error, because bases
differ (Debian splits them into packages); `verify_image.py` judges the outcome.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

MODULES = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack")
SCRIPTS = ("pip", "pip3", "pip3.*", "wheel", "easy_install*")


def installers(stdlib: Path, packages: list[Path], scripts: Path) -> list[Path]:
    """Return every file and folder there that belongs to an installer."""
    found = [*stdlib.glob("ensurepip"), *(p for s in SCRIPTS for p in scripts.glob(s))]
    for folder in packages:
        for name in MODULES:
            found += [*folder.glob(name), *folder.glob(f"{name}-*.dist-info")]
        found += folder.glob("distutils-precedence.pth")
    return found


def main() -> None:
    paths = sysconfig.get_paths()
    packages = [Path(p) for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    for path in installers(Path(paths["stdlib"]), packages, Path(paths["scripts"])):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    # Debian keeps the wheels that ensurepip would install in a folder of its own.
    shutil.rmtree("/usr/share/python-wheels", ignore_errors=True)


if __name__ == "__main__":
    main()
