"""The suite of the exposures' store, again: against Sentinel and Cluster, of each server."""

from tests.control_plane.exposures.test_store import *  # noqa: F403 - every test of it
