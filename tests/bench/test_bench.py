"""The benchmarks work: what they measure here is nothing, that they end well is the point."""

import pytest

from tests.bench.__main__ import MEASUREMENTS, main


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_works(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every measurement runs to its end on real servers, and its figures are in the table."""
    assert main(["--quick", "--only", name]) == 0
    out = capsys.readouterr().out
    assert "| figure " in out
    assert "nan" not in out
