"""The suite of the events' store, again: against Sentinel and Cluster, of each server."""

from tests.control_plane.events.test_store import *  # noqa: F403 - every test of it
