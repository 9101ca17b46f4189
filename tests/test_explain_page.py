"""docs/explain.md shows what really comes out: its commands are run, its output is compared.

The requests to running programs are made in `tests/flow/test_explain.py`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.reference import DOCS

PAGE = (DOCS / "explain.md").read_text()
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """Return each command of the page, and what it shows to come out."""
    found = []
    for block in _CONSOLE.findall(PAGE):
        parts = _COMMAND.split(block)[1:]
        found += list(zip(parts[::2], parts[1::2], strict=True))
    return found


def marked(name: str) -> str:
    """Return the block that stands after a marker."""
    match = re.search(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    return match[1]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the page's file."""
    (tmp_path / "flags.json").write_text(marked("flags.json"))
    return tmp_path


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run what the page shows, in a shell, with this environment's `matrixflag`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def test_there_are_commands() -> None:
    """A changed layout must not make this a test of nothing."""
    assert len(commands()) == 3


@pytest.mark.parametrize(("command", "output"), commands())
def test_a_command_prints_what_the_page_shows(command: str, output: str, directory: Path) -> None:
    """To the byte."""
    assert run(command, directory).stdout == output


def test_the_check_passes_and_can_fail(directory: Path) -> None:
    """It ends at the first answer that is not as expected."""
    script = marked("check.sh")
    assert run(script, directory).returncode == 0
    assert run(script.replace('"v2"', '"v3"'), directory).returncode == 1
    assert run(script.replace("flags.json", "none.json"), directory).returncode == 2
