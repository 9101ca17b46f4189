"""A file as the source: served, watched, and never worse than the last good one."""

# ruff: noqa: ASYNC240  small files of a test, on the loop that has nothing else to do
import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import proxy.sync.file
from proxy.contract.codes import ProblemCode
from proxy.engine import evaluate
from proxy.holder import Holder, Served
from proxy.supervise import Backoff, supervise
from proxy.sync import SyncStatus
from proxy.sync.file import run_file_source

POLL_ONLY_S = 0.05
NEVER_POLL_S = 60.0


class Sidecar:
    """What a running source fills."""

    def __init__(self, **holder: Any) -> None:
        self.holder = Holder(**holder)
        self.status = SyncStatus()
        self.swaps: asyncio.Queue[Served] = asyncio.Queue()
        self.holder.subscribe(lambda _, new: self.swaps.put_nowait(new))

    @property
    def value(self) -> Any:
        """The value of flag `a`."""
        assert self.holder.served is not None
        return evaluate(self.holder.served.compiled, "a", {}, 0).value

    async def swapped(self) -> Served:
        """Wait for the next swap."""
        async with asyncio.timeout(10):
            return await self.swaps.get()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds that gives no event of its own."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is looked at is plain data
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    path: Path, poll_s: float = POLL_ONLY_S, sidecar: Sidecar | None = None
) -> AsyncIterator[Sidecar]:
    """Run the source as the sidecar does."""
    sidecar = sidecar or Sidecar()

    async def source() -> None:
        await run_file_source(sidecar.holder, sidecar.status, path, "production", poll_s)

    task = asyncio.create_task(
        supervise(
            "file",
            source,
            on_error=lambda *_: sidecar.status.fail("internal", "file"),
            backoff=Backoff(0.01, 0.05),
        )
    )
    try:
        yield sidecar
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


def text(value: Any = True, **more: Any) -> str:
    """Return a file with flag `a`."""
    flag = {"key": "a", "type": "boolean", "value": value, "enabled": True} | more
    return json.dumps({"flags": [flag]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that serves flag `a`, on."""
    place = tmp_path / "flags.json"
    place.write_text(text())
    return place


async def test_a_file_is_served(path: Path) -> None:
    """With an epoch of its own and a real digest."""
    async with running(path) as sidecar:
        served = await sidecar.swapped()
        assert (served.header.epoch, served.header.revision, served.source) == ("file", 1, "file")
        assert served.header.digest == served.snapshot.digest.hexdigest()
        assert served.header.environment == "production"
        assert (sidecar.value, sidecar.status.state) == (True, "file")
        assert sidecar.status.errors == {}


async def test_a_change_is_seen_by_watching(path: Path) -> None:
    """Long before any poll; an editor that puts another file in its place is seen too."""
    async with running(path, NEVER_POLL_S) as sidecar:
        await sidecar.swapped()
        await watching(sidecar, path.parent)
        path.write_text(text(False))
        assert (await sidecar.swapped()).header.revision == 2
        assert sidecar.value is False
        other = path.with_suffix(".new")
        other.write_text(text(True))
        other.replace(path)
        await sidecar.swapped()
        assert sidecar.value is True


async def watching(sidecar: Sidecar, directory: Path) -> None:
    """Wait until the directory is watched: until a touch in it makes the age start again."""

    def touched() -> bool:
        (directory / "touch").write_text(os.urandom(8).hex())
        return (sidecar.holder.age_ms() or 0) < before_ms

    await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) > 50)
    before_ms = sidecar.holder.age_ms() or 0
    await sidecar.until(touched)


async def test_a_config_map_is_followed(tmp_path: Path) -> None:
    """Kubernetes swaps a link beside the file's own link; the file itself never changes."""
    for name, value in (("..v1", True), ("..v2", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flags.json").write_text(text(value))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "flags.json").symlink_to("..data/flags.json")
    async with running(tmp_path / "flags.json", NEVER_POLL_S) as sidecar:
        await sidecar.swapped()
        await watching(sidecar, tmp_path)
        (tmp_path / "..data_tmp").symlink_to("..v2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await sidecar.swapped()
        assert sidecar.value is False


async def test_a_change_that_watching_misses_is_polled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network disks give no events."""

    async def blind(*_: Any, **__: Any) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(proxy.sync.file, "awatch", blind)
    async with running(path) as sidecar:
        await sidecar.swapped()
        path.write_text(text(False))
        await sidecar.swapped()
        assert sidecar.value is False


async def test_watching_that_breaks_leaves_polling(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's watches may be used up; any other surprise is counted."""
    failures = [OSError(28, "no watches left"), LookupError("surprise")]

    async def broken(*_: Any, **__: Any) -> AsyncIterator[None]:
        if failures:
            raise failures.pop(0)
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(proxy.sync.file, "awatch", broken)
    async with running(path) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.errors["internal"] == 1)
        path.write_text(text(False))
        await sidecar.swapped()


@pytest.mark.parametrize(
    "bad",
    [b"", b"{", b'{"flags":[{"key":', b"\xff\xfe", b"[]", b"[" * 100_000],
    ids=["empty", "brace", "half", "UTF-16", "array", "deep"],
)
async def test_an_unreadable_file_keeps_the_last_good_one(path: Path, bad: bytes) -> None:
    """Told in the status, age going on; and the next good one is served."""
    async with running(path) as sidecar:
        served = await sidecar.swapped()
        path.write_bytes(bad)
        await sidecar.until(lambda: sidecar.status.errors["file"] == 1)
        assert sidecar.holder.served is served
        assert sidecar.status.problems
        assert str(path) in (sidecar.status.last_error or "")
        age_ms = sidecar.holder.age_ms() or 0
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) > age_ms + 200)
        assert sidecar.status.errors["file"] == 1  # looked at often, read once
        path.write_text(text(False))
        await sidecar.swapped()
        assert sidecar.value is False
        assert sidecar.status.problems == ()


async def test_a_bad_file_put_right_again_is_confirmed(path: Path) -> None:
    """The same content as before: no swap, and its age starts again."""
    async with running(path) as sidecar:
        await sidecar.swapped()
        path.write_bytes(b"{")
        await sidecar.until(lambda: sidecar.status.errors["file"] == 1)
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) > 150)
        path.write_text(text())
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) < 50)
        assert sidecar.swaps.empty()


async def test_one_bad_flag_is_told_with_its_place(path: Path) -> None:
    """And the others are served."""
    path.write_text(
        '{"flags":[{"key":"a","type":"boolean","value":true,"enabled":true},{"key":"b","x":1}]}'
    )
    async with running(path) as sidecar:
        served = await sidecar.swapped()
        assert sidecar.value is True
        assert list(served.compiled.quarantined) == ["b"]
        assert [(p.pointer, p.code) for p in sidecar.status.problems] == [
            ("/flags/1/x", ProblemCode.UNKNOWN_FIELD)
        ]


async def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """Nor need its directory be."""
    path = tmp_path / "later" / "flags.json"
    async with running(path) as sidecar:
        await sidecar.until(lambda: sidecar.status.errors["file"] >= 2)
        assert sidecar.holder.served is None
        path.parent.mkdir()
        path.write_text(text())
        await sidecar.swapped()


async def test_a_file_that_goes_away_is_served_on(path: Path) -> None:
    """It ages, and is confirmed when it is back."""
    async with running(path) as sidecar:
        await sidecar.swapped()
        path.rename(path.with_suffix(".away"))
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) > 200)
        assert sidecar.value is True
        assert sidecar.status.errors["file"] >= 1
        path.with_suffix(".away").rename(path)
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) < 50)


async def test_a_missing_file_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each look is counted, and a log that repeats itself is not read."""
    async with running(tmp_path / "none.json") as sidecar:
        await sidecar.until(lambda: sidecar.status.errors["file"] >= 5)
    assert caplog.text.count("cannot be served, nothing is served") == 1


async def test_a_file_that_was_emptied_is_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is served, as it may be meant, and a warning says how many flags there are."""
    caplog.set_level("INFO")
    async with running(path) as sidecar:
        await sidecar.swapped()
        path.write_text('{"flags": []}')
        await sidecar.swapped()
        told = [(r.levelname, r.getMessage()) for r in caplog.records if ": revision" in r.msg]
    assert [(level, said.rpartition(", ")[2]) for level, said in told] == [
        ("INFO", "1 flags"),
        ("WARNING", "0 flags"),
    ]


async def test_an_unchanged_file_is_confirmed(path: Path) -> None:
    """Reading it is what says that it is current."""
    async with running(path) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) > 20)
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) < 20)
        assert sidecar.swaps.empty()


async def test_another_layout_is_no_change(path: Path) -> None:
    """The digest is of the content, so nothing is compiled and no client refetches."""
    async with running(path) as sidecar:
        served = await sidecar.swapped()
        path.write_text(json.dumps(json.loads(text()), indent=8))
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) > 30)
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) < 30)
        assert sidecar.holder.served is served


@pytest.mark.parametrize("kind", ["pipe", "directory", "too large", "a link to itself"])
async def test_what_is_no_usable_file_is_told(tmp_path: Path, kind: str) -> None:
    """And does not hang or fill the memory."""
    path = tmp_path / "flags.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "too large":
        with path.open("wb") as file:
            file.truncate(10**10)  # ten gigabytes of nothing
    else:
        path.symlink_to(path)
    async with running(path, sidecar=Sidecar(max_snapshot_bytes=10_000)) as sidecar:
        await sidecar.until(lambda: sidecar.status.errors["file"] >= 2)
        assert sidecar.holder.served is None
        assert sidecar.status.errors["internal"] == 0


async def test_an_unexpected_exception_does_not_end_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, and looked again."""
    original = Holder.offer
    failures = [LookupError("surprise")]

    async def failing(self: Holder, *args: Any, **kwargs: Any) -> Served:
        if failures:
            raise failures.pop()
        return await original(self, *args, **kwargs)

    monkeypatch.setattr(Holder, "offer", failing)
    async with running(path) as sidecar:
        await sidecar.swapped()
        assert sidecar.status.errors["internal"] == 1


async def test_revisions_go_on_over_a_restart_of_the_source(path: Path) -> None:
    """Within one process they never go back, so the holder takes each."""
    sidecar = Sidecar()
    for revision, value in enumerate([True, False, True], start=1):
        path.write_text(text(value))
        async with running(path, sidecar=sidecar):
            assert (await sidecar.swapped()).header.revision == revision


async def test_two_sidecars_give_equal_content_an_equal_digest(tmp_path: Path) -> None:
    """So an application may ask either with the same ETag."""
    digests = []
    for name in ("one", "two"):
        place = tmp_path / f"{name}.json"
        place.write_text(json.dumps(json.loads(text()), indent=len(digests)))
        async with running(place) as sidecar:
            header = (await sidecar.swapped()).header
            digests.append((header.epoch, header.digest))
    assert digests[0] == digests[1]


async def test_a_time_far_from_now_is_no_problem(path: Path) -> None:
    """A file can claim any."""
    os.utime(path, (2**40, 2**40))
    async with running(path) as sidecar:
        await sidecar.swapped()
    assert proxy.sync.file._rfc3339(1e300) == "9999-12-31T23:59:59+00:00"
    assert proxy.sync.file._rfc3339(-1e300) == "1970-01-01T00:00:00+00:00"
