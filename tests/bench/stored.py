"""Puts flags into a running control plane, as many connections at once as make it quick."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.bench.client import Client

__all__ = ["API_FLAGS", "store"]

API_FLAGS = "/api/v1/flags"
_CONNECTIONS = 8


def store(dev: dict[str, Any], documents: Sequence[dict[str, Any]]) -> None:
    """Create the flags at the control plane of a `dev.json`."""
    shares = [documents[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(lambda share: _create(dev, share), shares))  # the list raises what they raise


def _create(dev: dict[str, Any], documents: Sequence[dict[str, Any]]) -> None:
    with Client(dev["control_plane_url"], dev["service_key"]) as client:
        for document in documents:
            client.ask("POST", API_FLAGS, document, expect=201)
