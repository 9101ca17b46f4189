"""The limit of open files."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("soft", "hard", "possible"), [(256, 20_000, 10_000), (256, 1_000, 500), (64, 64, 1)]
)
def test_it_is_raised_as_far_as_it_may_be(soft: int, hard: int, possible: int) -> None:
    """What is not possible even then is not promised."""
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from control_plane.files import connections_for
print(connections_for(10_000), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(possible), str(min(hard, 10_500)), str(hard)]
