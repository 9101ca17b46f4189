"""What schemathesis makes up, sent by an administrator, who may do everything."""

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import fuzz, running_control_plane
from tests.support.administrator import ADMIN_TOKEN


@pytest.mark.timeout(1800)
def test_all_that_an_administrator_may_send_is_answered_as_described(tmp_path: Path) -> None:
    """Whatever is made, changed and deleted, in whatever order."""
    with running_control_plane(tmp_path) as control_plane:
        fuzz(control_plane, tmp_path, ADMIN_TOKEN)
