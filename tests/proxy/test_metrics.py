"""What a scrape gets."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics import METRICS, Metrics, measure_lag
from proxy.reporting.channel import Channel, ReportSettings
from proxy.usage.counts import UsageCounts
from tests.proxy.ofrep.server import Server, running_server
from tests.support.snapshots import make_snapshot
from tests.support.units import in_segment, long_list, names

OWN = ("matrixflag_",)
OUTSIDE = ("process_", "python_")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """An evaluation port with its metrics."""
    async with running_server() as running:
        settings = ReportSettings(control_plane_urls=("http://127.0.0.1:9",), key="k", instance="i")
        recorder, events = running.recorder, running.answering.events
        assert recorder.buffer is not None
        assert events.buffer is not None
        sources = {
            "exposures": recorder.buffer,
            "events": events.buffer,
            "usage": UsageCounts(lambda: None, lambda: 0),
        }
        channels = [
            Channel(name, "/", source, running.session, settings)
            for name, source in sources.items()
        ]
        running.metrics.watch(recorder, events, channels)
        yield running


async def samples(metrics: Metrics) -> dict[str, float]:
    """Return all samples, by name and labels as Prometheus writes them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families((await metrics.render(""))[0].decode()):
        for sample in family.samples:
            labels = ",".join(f'{n}="{v}"' for n, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_every_metric_is_in_the_table_and_the_other_way_round(server: Server) -> None:
    """The documentation is compared with the table."""
    text = (await server.metrics.render(""))[0].decode()
    rendered = {f.name for f in text_string_to_metric_families(text) if f.name.startswith(OWN)}
    declared = {row.name.removesuffix("_total") for row in METRICS}
    assert rendered == declared
    others = {f.name for f in text_string_to_metric_families(text)} - rendered
    assert all(name.startswith(OUTSIDE) for name in others)
    assert "process_resident_memory_bytes" in others


async def test_labels_are_those_of_the_table(server: Server) -> None:
    """A label that is not declared is not documented."""
    await server.bulk({"targetingKey": "u-1"})
    rows = {row.name: set(row.labels) for row in METRICS}
    text = (await server.metrics.render(""))[0].decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name
            for suffix in ("_bucket", "_count", "_sum"):
                if name.removesuffix(suffix) in rows:
                    name = name.removesuffix(suffix)
            if name in rows:
                assert set(sample.labels) - {"le"} == rows[name], name


async def test_evaluations_are_counted_by_flag_variant_and_reason(server: Server) -> None:
    """Single and bulk alike."""
    await server.single("bool")
    await server.bulk()
    await server.single("none")
    found = await samples(server.metrics)
    series = 'matrixflag_evaluations_total{flag="bool",reason="STATIC",variant="on"}'
    assert found[series] == 2
    assert not any('flag="none"' in name for name in found), "keys that strangers make up"
    assert found['matrixflag_requests_total{route="single",status="404"}'] == 1


async def test_the_names_of_nothing_are_counted_as_units(server: Server) -> None:
    """Everybody without an identity would be one unit, and be split as one."""
    for key in ("undefined", "undefined", "None", "u-1", "nullable", ""):
        await server.single("split", {"targetingKey": key})
    await server.bulk({"targetingKey": "null"})
    await server.bulk({"targetingKey": ["null"]})
    await server.offer({})
    found = await samples(server.metrics)
    name = 'matrixflag_suspicious_units_total{unit="%s"}'
    counts = [found[name % unit] for unit in ("undefined", "None", "null", "NaN")]
    assert counts == [2, 1, 1, 0]


async def test_no_counter_goes_back_when_the_snapshot_changes(server: Server) -> None:
    """Nor when a bulk answer was counted but not yet read."""
    await server.bulk({"targetingKey": "u-1"})
    before = await samples(server.metrics)
    await server.bulk({"targetingKey": "u-1"})
    await server.offer({})
    after = await samples(server.metrics)
    for name, value in before.items():
        if "_total" in name and name.startswith(OWN):
            assert after[name] >= value, name
    assert after['matrixflag_evaluations_total{flag="bool",reason="STATIC",variant="on"}'] == 2


async def test_revision_and_age_are_absent_before_the_first_snapshot() -> None:
    """A zero would be a lie that no alert sees."""
    async with running_server(None) as server:
        found = await samples(server.metrics)
        assert "matrixflag_snapshot_revision" not in found
        assert "matrixflag_snapshot_age_seconds" not in found
        await server.offer({})
        found = await samples(server.metrics)
        assert found["matrixflag_snapshot_revision"] == 1
        assert 0 <= found["matrixflag_snapshot_age_seconds"] < 10


async def test_quarantined_flags_are_counted(server: Server) -> None:
    """What the alert hangs on."""
    assert (await samples(server.metrics))["matrixflag_quarantined_flags"] == 1


async def test_the_balance_of_exposures_is_told(server: Server) -> None:
    """Received is the sum of the rest."""
    for unit in ("a", "b", "a"):
        await server.single("tracked", {"targetingKey": unit})
    await server.single("tracked", {})
    found = await samples(server.metrics)
    parts = ("deduplicated_total", "delivered_total", "pending", "parked_total", "lost_total")
    assert found["matrixflag_exposures_received_total"] == 3
    assert sum(found[f"matrixflag_exposures_{part}"] for part in parts) == 3
    assert found["matrixflag_exposures_pending"] == 2


async def test_the_balance_of_events_is_told(server: Server) -> None:
    """And what is not part of it, beside."""
    events = [{"name": "buy", "unit": "u", "id": "1", "time": 1}] * 2 + [{"name": ""}]
    reply = await server.send(
        "POST",
        "/v1/events",
        json.dumps({"events": events}).encode(),
        {"Content-Type": "application/json"},
    )
    assert reply.status == 202
    found = await samples(server.metrics)
    parts = ("received_total", "deduplicated_total", "pending", "rejected_total", "clamped_total")
    assert [found[f"matrixflag_events_{part}"] for part in parts] == [2, 1, 1, 1, 1]
    assert found['matrixflag_request_seconds_count{route="events"}'] == 1


async def test_latency_has_buckets_of_microseconds(server: Server) -> None:
    """An evaluation takes a few of them."""
    await server.single("bool")
    found = await samples(server.metrics)
    for name in ("matrixflag_request_seconds", "matrixflag_evaluation_seconds"):
        assert f'{name}_bucket{{le="5e-06",route="single"}}' in found
        assert found[f'{name}_count{{route="single"}}'] == 1


async def test_openmetrics_is_given_to_who_asks_for_it(server: Server) -> None:
    """Prometheus does."""
    body, content_type = await server.metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_any_key_is_a_label_that_can_be_read_back(accept: str) -> None:
    """Keys of files and of other systems hold quotes, backslashes and more."""
    keys = ['quo"te', "back\\slash", "back\\", "comma,{}=", "ü 🎈", "# EOF"]
    async with running_server(dict.fromkeys(keys, True)) as server:
        await server.bulk()
        text = (await server.metrics.render(accept))[0].decode()
    parse = openmetrics_families if accept else text_string_to_metric_families
    families = {family.name: family for family in parse(text)}
    evaluations = families["matrixflag_evaluations"]
    assert evaluations.type == "counter"
    assert sorted(sample.labels["flag"] for sample in evaluations.samples) == sorted(keys)
    assert all(sample.value == 1 for sample in evaluations.samples)


async def test_a_scrape_of_thousands_of_series_does_not_hold_the_loop() -> None:
    """Evaluations are answered between its slices."""
    async with running_server({f"flag-{number}": True for number in range(3000)}) as server:
        await server.bulk()
        turns = 0
        scrape = asyncio.create_task(server.metrics.render(""))
        while not scrape.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 2
        assert (await scrape)[0].count(b"matrixflag_evaluations_total{") == 3000


async def test_a_failure_in_the_background_is_counted(server: Server) -> None:
    """By the task that failed."""
    server.metrics.background_failed("sync", RuntimeError("x"))
    assert (await samples(server.metrics))['matrixflag_background_failures_total{task="sync"}'] == 1


async def test_a_loop_that_is_held_shows_as_lag(server: Server) -> None:
    """What everything else waited is in the sum."""
    measuring = asyncio.create_task(measure_lag(server.metrics, every_s=0.01))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + 0.1
    while loop.time() < until_s:
        pass  # holds the loop
    await asyncio.sleep(0.02)
    measuring.cancel()
    assert (await samples(server.metrics))["matrixflag_loop_lag_seconds_sum"] > 0.05


async def test_two_sidecars_in_one_process_share_nothing() -> None:
    """The registry belongs to the application."""
    async with running_server() as one, running_server() as two:
        await one.single("bool")
        assert not two.metrics.requests
        await samples(one.metrics)
        await samples(two.metrics)


async def test_units_of_long_lists_are_told(server: Server) -> None:
    """How many, in how much memory, and what of them did not come yet."""
    assert (await samples(server.metrics))["matrixflag_units"] == 0
    units = long_list(names(9_000))
    flag, segment = in_segment(units)

    async def blobs(*_: object) -> Mapping[str, bytes]:
        return units.blobs

    _, body = make_snapshot({"f": flag}, more=segment, revision=2)
    await server.holder.offer(body, "control-plane", blobs=blobs)
    server.metrics._status.blobs["fetched"] += len(units.blobs)
    server.metrics._status.blobs_missing = 3
    found = await samples(server.metrics)
    assert found["matrixflag_units"] == 9_000
    assert found["matrixflag_unit_blobs"] == 4
    assert found["matrixflag_unit_blob_bytes"] == 108_000
    assert found['matrixflag_sync_blobs_total{outcome="fetched"}'] == 4
    assert found['matrixflag_sync_blobs_total{outcome="failed"}'] == 0
    assert found["matrixflag_sync_blobs_missing"] == 3
