"""The benchmarks work: what they measure here is nothing, that they end well is the point."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.__main__ import MEASUREMENTS, main
from tests.bench.definitions import contexts
from tests.bench.load import put_load, write_bodies
from tests.bench.sidecar import bare_handler
from tests.support.processes import ROOT


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A bare aiohttp handler: its route and its process id."""
    with bare_handler(tmp_path_factory.mktemp("bare")) as (url, pid):
        yield f"{url}/ofrep/v1/evaluate/flags/some", pid


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_works(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every measurement runs to its end on real servers, and its figures are in the table."""
    assert main(["--quick", "--only", name]) == 0
    out = capsys.readouterr().out
    assert "| figure " in out
    assert "nan" not in out


def test_the_bundled_generator_does_what_wrk_does(bare: tuple[str, int], tmp_path: Path) -> None:
    """It answers in the same form, and every answer it got was right."""
    url, _ = bare
    bodies = write_bodies(tmp_path / "bodies.txt", contexts(10))
    command = [sys.executable, "-m", "tests.bench.generator", url, str(bodies), "4", "0.3"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seen = json.loads(run.stdout)
    assert seen["requests"] > 10
    assert seen["wrong"] == 0
    assert 0 < seen["p50_us"] <= seen["p99_us"]


def test_wrong_answers_are_no_figure(bare: tuple[str, int], tmp_path: Path) -> None:
    """A server that refuses fast would look fast."""
    url, pid = bare
    bodies = write_bodies(tmp_path / "bodies.txt", contexts(10))
    with pytest.raises(RuntimeError, match="wrong"):
        put_load(f"{url}/no/such/route", bodies, pid, 0.3)
