"""What a fresh installation gets, when the API does not answer. The rest is in `tests/flow`."""

import pytest

from control_plane.dev.data_dir import DevState
from control_plane.dev.errors import DevError
from control_plane.dev.sample import prepare
from tests.support.ports import free_port


@pytest.mark.parametrize("key", ["", "mf_sidecar_" + "k" * 43])
async def test_an_api_that_went_away_is_told(key: str) -> None:
    """In the first run, and in one that has a key already."""
    state = DevState(sidecar_key=key)
    with pytest.raises(DevError, match="failed"):
        await prepare(f"http://127.0.0.1:{free_port()}", state, lambda _: None)
