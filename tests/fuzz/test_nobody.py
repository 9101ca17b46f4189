"""What schemathesis makes up, sent by nobody in particular."""

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import fuzz, running_control_plane


@pytest.mark.timeout(1800)
def test_nobody_is_answered_as_described_and_changes_nothing(tmp_path: Path) -> None:
    """Without a credential all is closed but what says that it is open."""
    with running_control_plane(tmp_path) as control_plane:
        before = control_plane.changes()
        fuzz(control_plane, tmp_path, None, "--phases=examples,fuzzing")
        assert control_plane.changes() == before
