"""Tests of the metrics: that the table is all there is, and that a scrape reads the state."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from control_plane.fleet.model import FleetFigures
from control_plane.fleet.revisions import Convergence
from control_plane.keys import METRICS as METRICS_KEY
from control_plane.metrics import (
    MAX_SERIES,
    METRICS,
    EnvironmentFigures,
    Figures,
    Metrics,
    RedisFigures,
)
from tests.support.api import Api

FLEET = FleetFigures(
    {"current": 6, "behind": 1, "unconfirmed": 0, "missing": 2},
    4.5,
    0,
    Convergence("e1", 7, 1_800_000_000_000, 7, 6, 0, 120, None, None),
)
FIGURES = Figures(
    redis_up=True,
    redis=[RedisFigures("definitions", "sentinel", ["10.0.0.1:6379"], 2)],
    loaded=True,
    age_s=0.5,
    conflicts=1,
    reloads=2,
    epochs_renewed=3,
    claims_refused={("default", "k_1"): 2},
    environments=[EnvironmentFigures("default", "production", 7, 1234, 2, FLEET)],
    flags={"default": 5},
    units={"default": 1_000_000},
    blobs_lost={"default": 0},
    blobs_read=256,
    blobs_sent=512,
    streams_accepted=20,
    streams_accepted_peak=10,
    streams_refused=3,
    streams_ended={"slow": 1, "key": 0, "life": 2},
    stream_events={"delta": 40, "snapshot": 2},
    answered={"exposures": {"stored": 10, "busy": 1}},
    balances={
        kind: {
            name: number
            for number, name in enumerate(
                ("received", "deduplicated", "delivered", "pending", "parked", "lost")
            )
        }
        for kind in ("exposures", "events", "usage")
    },
    clamped={"exposures": 2},
    unknown_flags={"exposures": 3},
    standings={"taken": 9, "refused": 1, "full": 0},
    fleet_complete=True,
    admin_token_everything=True,
    loop_lag_s=0.001,
    tasks=9,
)


def samples(text: str) -> dict[str, float]:
    """Return every sample by its name and labels."""
    return {
        sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_of_the_table_is_exposed_with_its_help() -> None:
    """The documentation is made from the table, so the table has to be true."""
    metrics = Metrics()
    metrics.show(lambda: FIGURES)
    metrics.observe_request("GET", "/x", 200, 0.01)
    metrics.observe_redis("commit", 0.001, succeeded=False)
    text = metrics.render().decode()
    exposed = {
        (name, kind)
        for name, kind in re.findall(r"# TYPE (matrixflag_\S+) (\S+)", text)
        if not name.endswith("_created")
    }
    assert exposed == {(row.name, row.kind) for row in METRICS.values()}
    for row in METRICS.values():
        assert f"# HELP {row.name} {row.help}" in text


def test_a_scrape_reads_the_state_of_that_moment() -> None:
    """States are not remembered, so they cannot be out of date."""
    now = FIGURES
    metrics = Metrics()
    metrics.show(lambda: now)
    assert (
        samples(metrics.render().decode())[
            "matrixflag_published_revision{environment=production}{project=default}"
        ]
        == 7
    )
    now = FIGURES._replace(redis_up=False, environments=[])
    after = samples(metrics.render().decode())
    assert after["matrixflag_redis_up"] == 0
    assert not any(name.startswith("matrixflag_published_revision") for name in after)


def test_the_number_of_series_is_bounded() -> None:
    """Projects and environments are what users make of them."""
    many = [EnvironmentFigures("p", f"e{n}", 1, 1, 0, None) for n in range(MAX_SERIES * 2)]
    metrics = Metrics()
    metrics.show(lambda: FIGURES._replace(environments=many))
    text = metrics.render().decode()
    assert text.count("\nmatrixflag_published_revision{") == MAX_SERIES


def test_the_fleet_is_shown_by_state_and_never_by_instance() -> None:
    """What a revision has not reached yet is absent, and waited for."""
    metrics = Metrics()
    metrics.show(lambda: FIGURES)
    found = samples(metrics.render().decode())
    place = "{environment=production}{project=default}"
    assert found[f"matrixflag_fleet_sidecars{place}{{state=missing}}"] == 2
    assert found[f"matrixflag_fleet_oldest_age_seconds{place}"] == 4.5
    assert found[f"matrixflag_fleet_waiting{place}"] == 1
    assert found[f"matrixflag_fleet_convergence_seconds{place}{{share=0.5}}"] == 0.12
    assert f"matrixflag_fleet_convergence_seconds{place}{{share=1}}" not in found


def test_two_apps_do_not_share_metrics() -> None:
    """A registry per app, nothing global."""
    first, second = Metrics(), Metrics()
    first.observe_request("GET", "/x", 200, 0.01)
    assert "/x" not in second.render().decode()


@pytest.mark.parametrize("member", ["process_resident_memory_bytes", "process_open_fds"])
def test_the_process_is_shown(member: str) -> None:
    """Memory and file descriptors, the usual way."""
    assert f"\n{member} " in Metrics().render().decode()


async def test_a_running_control_plane_counts_requests_and_redis(api: Api) -> None:
    """From real requests and a real Redis."""
    await api.make_key("server")
    await api.ask("GET", "/none-such")
    await api.ask("PROPFIND", "/none-such")
    found = samples(api.app[METRICS_KEY].render().decode())
    posted = "matrixflag_api_request_seconds_count{method=POST}{route=/api/v1/keys}{status=201}"
    assert found[posted] == 1
    unmatched = "matrixflag_api_request_seconds_count{method=%s}{route=unmatched}{status=404}"
    assert found[unmatched % "GET"] == 1
    assert found[unmatched % "other"] == 1
    assert found["matrixflag_redis_command_seconds_count{command=commit}"] == 1
    assert found["matrixflag_definitions_loaded"] == 1
    revision = "matrixflag_published_revision{environment=production}{project=default}"
    assert found[revision] == 2
