"""Write what pyproject.toml asks for as requirement files, one for each consumer of the Dockerfile.

`build.txt` is the build backend, `proxy.txt` what the plain install needs, `control-plane.txt` the
same and the extra. A layer that installs one of them is kept as long as its content stays, whatever
else changes in pyproject.toml (versions of development tools, lint settings).

Runs in the base image, before anything is installed: standard library only.
Called as `python requirements.py PYPROJECT DIRECTORY`.
"""

import sys
import tomllib
from pathlib import Path

CONTROL_PLANE = "control-plane"


def requirements(pyproject: str) -> dict[str, list[str]]:
    """Return the lines of each requirement file by its name."""
    document = tomllib.loads(pyproject)
    plain = document["project"]["dependencies"]
    extra = document["project"]["optional-dependencies"][CONTROL_PLANE]
    files = {
        "build.txt": ["pip", *document["build-system"]["requires"]],
        "proxy.txt": plain,
        f"{CONTROL_PLANE}.txt": plain + extra,
    }
    return {name: sorted(lines) for name, lines in files.items()}


def main(arguments: list[str]) -> None:
    source, target = map(Path, arguments)
    for name, lines in requirements(source.read_text(encoding="utf-8")).items():
        target.joinpath(name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
