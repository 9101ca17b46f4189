"""Hashes of passwords in tests cost a fiftieth of what they cost in life."""

import pytest

from control_plane.users.passwords import PARAMETERS


@pytest.fixture(autouse=True)
def real_parameters(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The parameters as they are outside of tests, within which they are cheap."""
    real = dict(PARAMETERS)
    monkeypatch.setitem(PARAMETERS, "memory_cost", 1024)
    return real
