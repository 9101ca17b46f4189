"""What schemathesis makes up, sent by a person who may only look."""

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import fuzz, running_control_plane

_ENDS_THE_SESSION = r"^/api/v1/(auth/logout|me/sessions)"
"""After it all other requests would be 401, and nothing would be tried any more."""

_PHASES = "--phases=examples,fuzzing,stateful"  # values at the bounds are tried by administrators


@pytest.mark.timeout(1800)
def test_a_viewer_is_answered_as_described_and_changes_nothing(tmp_path: Path) -> None:
    """With an access token, which also reaches what is a person's own."""
    with running_control_plane(tmp_path) as control_plane:
        token = control_plane.log_in("viewer")
        before = control_plane.changes()
        selected = f"--exclude-path-regex={_ENDS_THE_SESSION}", _PHASES
        fuzz(control_plane, tmp_path, token, *selected)
        assert control_plane.changes() == before
        assert (
            control_plane.ask("GET", "/api/v1/me", token=control_plane.token())["email"]
            == "viewer@example.com"
        )
