"""What schemathesis makes up, sent with the key of a sidecar, to what takes one."""

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import fuzz, running_control_plane

_OF_SIDECARS = r"^/api/v1/(sync|exposures|events|usage|fleet)"
_STREAM = "/api/v1/sync/stream"  # lasts as long as its reader stays


@pytest.mark.timeout(1800)
def test_all_that_a_sidecar_may_send_is_answered_as_described(tmp_path: Path) -> None:
    """And definitions stay as they are."""
    with running_control_plane(tmp_path) as control_plane:
        key = control_plane.ask("POST", "/api/v1/keys", {"kind": "sidecar"})["key"]
        before = control_plane.changes()
        selected = f"--include-path-regex={_OF_SIDECARS}", f"--exclude-path={_STREAM}"
        fuzz(control_plane, tmp_path, key, *selected)
        assert control_plane.changes() == before
