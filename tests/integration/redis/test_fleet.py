"""The suite of the fleet's store, again: against Sentinel and Cluster, of Redis and of Valkey."""

from tests.control_plane.fleet.test_store import *  # noqa: F403 - every test of it
