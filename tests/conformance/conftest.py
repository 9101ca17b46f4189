"""Says in the header of a run where the data of the suites is; see `harness`."""

from tests.conformance.harness import suites_folder

__all__ = ["pytest_report_header"]


def pytest_report_header() -> str:
    """Return the line of the header."""
    return f"suites: {suites_folder() or 'none; see `make suites-help`'}"
