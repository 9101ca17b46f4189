"""Programs that tests need beside Python. On a laptop a missing one skips, in CI it fails."""

import os
import shutil
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI") == "true"


def missing(what: str) -> NoReturn:
    """Skip the test with a counted line; with CI=true fail it, because CI installs everything."""
    if IN_CI:
        pytest.fail(f"{what} is missing, and CI must have it", pytrace=False)
    pytest.skip(f"{what} is missing")


def require(program: str) -> str:
    """Return the path of a program on PATH."""
    path = shutil.which(program)
    if path is None:
        missing(program)
    return path
