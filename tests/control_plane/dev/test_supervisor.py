"""What ends while `matrixflag dev` starts is told to a person. The whole is in `tests/flow`."""

from pathlib import Path

import pytest

from control_plane.dev import supervisor
from control_plane.dev.errors import DevError
from tests.support.ports import free_port


async def test_a_sidecar_that_ends_after_listening_is_told_with_its_log(tmp_path: Path) -> None:
    """Not as a trace of the HTTP library."""
    log = tmp_path / "sidecar.log"
    log.write_text("no memory left\n")
    with pytest.raises(DevError, match="no memory left"):
        await supervisor._holds_flags(f"http://127.0.0.1:{free_port()}", log)
