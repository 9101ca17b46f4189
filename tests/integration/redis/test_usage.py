"""The suite of the usage's store, again: against Sentinel and Cluster, of each server."""

from tests.control_plane.usage.test_store import *  # noqa: F403 - every test of it
