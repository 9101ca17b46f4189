"""The gate closes for as long as a control plane asks, and for nothing else."""

import asyncio
from typing import Any

import pytest

from proxy.sync.errors import SyncError
from proxy.sync.pace import Gate, wait
from proxy.sync.settings import SyncSettings


def gate(**more: Any) -> Gate:
    """Return a gate whose delays are drawn at half of their range."""
    key = "mf_sidecar_" + "a" * 43
    return Gate(SyncSettings(control_plane_urls=("http://h",), key=key, draw=lambda: 0.5, **more))


@pytest.mark.parametrize("kind", ["connect", "timeout", "closed", "idle", "protocol", "http_5xx"])
async def test_most_failures_leave_it_open(kind: str) -> None:
    """The one who failed waits for its own backoff; the other may try."""
    opened = gate()
    opened.failed(SyncError(kind, ""))
    assert opened.closed_s() == 0.0


async def test_a_denied_key_closes_it_for_longer_and_longer() -> None:
    """Up to minutes."""
    denied = gate()
    delays = []
    for _ in range(12):
        denied._closed_until = 0.0
        denied.failed(SyncError("http_401", ""))
        delays.append(round(denied.closed_s()))
    assert delays[:5] == [1, 2, 4, 8, 16]
    assert delays[-1] == 150
    denied._closed_until = 0.0
    denied.succeeded()
    denied.failed(SyncError("http_403", ""))
    assert round(denied.closed_s()) == 1


async def test_what_was_asked_for_is_never_shortened() -> None:
    """Neither by chance nor by a later, shorter wish."""
    patient = gate()
    patient.failed(SyncError("http_5xx", "", retry_after_s=100.0))
    assert 100.0 < patient.closed_s() < 101.0
    patient.failed(SyncError("http_5xx", "", retry_after_s=1.0))
    assert patient.closed_s() > 99.0


async def test_waiting_for_an_event_takes_it() -> None:
    """It is cleared, so that the next wait is for the next one."""
    event = asyncio.Event()
    event.set()
    assert await wait(event, 1.0) is True
    assert await wait(event, 0.001) is False
