"""What flags need of each other, through the API and on two replicas at once."""

import asyncio
from typing import Any

import msgspec
import pytest

from control_plane.errors import ApiError, Invalid
from control_plane.flags.prerequisites import related_flags
from control_plane.flags.service import FlagService
from control_plane.keys import REPLICA
from control_plane.publishing.replica import Replica
from control_plane.web.documents import decode_document
from proxy.contract.authoring import FlagInput
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Flag
from proxy.contract.snapshot import read_entry, read_snapshot
from proxy.contract.steps import finish
from proxy.engine import compile_snapshot, evaluate
from tests.support.api import Api, Reply
from tests.support.definitions import AUTHOR, any_version

FLAGS = "/api/v1/flags"
WAIT_S = 20.0
ON_OFF = {"on": True, "off": False}


def needs(*wanted: tuple[str, str]) -> list[dict[str, Any]]:
    """Return prerequisites: flags, each with the variant it must serve."""
    return [{"flag": flag, "variants": [variant]} for flag, variant in wanted]


def body(key: str, *wanted: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """Return a boolean flag that is on in production where its prerequisites hold."""
    config = {"enabled": True, "fallthrough": {"variant": "on"}, "off_variant": "off"}
    config["prerequisites"] = needs(*wanted)
    flag = {"key": key, "type": "boolean", "variants": ON_OFF}
    return {**flag, "environments": {"production": config}, **fields}


async def create(api: Api, key: str, *wanted: tuple[str, str], **fields: Any) -> None:
    """Create such a flag."""
    reply = await api.ask("POST", FLAGS, json=body(key, *wanted, **fields))
    assert reply.status == 201, reply.body


async def configure(api: Api, key: str, environment: str = "production", **members: Any) -> Reply:
    """Change some of a flag's configuration."""
    query = "" if environment == "production" else f"?environment={environment}"
    changes = {"environments": {environment: members}}
    return await api.ask("PATCH", f"{FLAGS}/{key}{query}", json=changes)


def problems(reply: Reply) -> set[tuple[str, str]]:
    """Return pointers and codes of a refusal."""
    assert reply.status == 422, reply.body
    return {(problem["pointer"], problem["code"]) for problem in reply.json["problems"]}


async def test_a_prerequisite_is_neither_deleted_nor_archived(api: Api) -> None:
    """Those that have it are named; without them it goes."""
    await create(api, "api")
    await create(api, "checkout", ("api", "on"))
    for refused in (
        await api.ask("DELETE", f"{FLAGS}/api"),
        await api.ask("PATCH", f"{FLAGS}/api", json={"archived": True}),
    ):
        assert (refused.status, refused.json["code"]) == (409, "flag_in_use")
        assert "flag 'checkout'" in refused.json["detail"]
    assert (await configure(api, "checkout", prerequisites=[])).status == 200
    archived = await api.ask("PATCH", f"{FLAGS}/api", json={"archived": True})
    assert (archived.status, archived.json["archived"]) == (200, True)
    assert (await api.ask("DELETE", f"{FLAGS}/api")).status == 204


async def test_a_prerequisite_of_another_environment_counts(api: Api) -> None:
    """A flag is one, though it is configured per environment."""
    await create(api, "api")
    await create(api, "checkout")
    staging = {"fallthrough": {"variant": "on"}, "prerequisites": needs(("api", "on"))}
    assert (await configure(api, "checkout", "staging", **staging)).status == 200
    assert (await api.ask("DELETE", f"{FLAGS}/api")).json["code"] == "flag_in_use"


async def test_of_a_prerequisite_deleted_by_force_users_can_be_switched_off(api: Api) -> None:
    """What is broken already is a warning, and a worse one is still refused."""
    await create(api, "api")
    await create(api, "checkout", ("api", "on"))
    assert (await api.ask("DELETE", f"{FLAGS}/api?force=true")).status == 204
    reply = await api.ask("PATCH", f"{FLAGS}/checkout", json={"enabled": False})
    assert (reply.status, reply.json["enabled"]) == (200, False)
    assert "unknown_flag" in reply.headers["Matrixflag-Warnings"]
    more = await configure(api, "checkout", prerequisites=needs(("api", "on"), ("gone", "on")))
    place = "/environments/production/prerequisites"
    assert (f"{place}/1/flag", "unknown_flag") in problems(more)


@pytest.mark.parametrize(
    ("wanted", "pointer", "code"),
    [
        (("nope", "on"), "0/flag", "unknown_flag"),
        (("api", "v2"), "0/variants/0", "unknown_variant"),
        (("checkout", "on"), "0/flag", "prerequisite_cycle"),
        (("user", "on"), "0/flag", "prerequisite_cycle"),
    ],
    ids=["flag", "variant", "itself", "cycle"],
)
async def test_a_prerequisite_that_cannot_be_is_refused(
    api: Api, wanted: tuple[str, str], pointer: str, code: str
) -> None:
    """At its place, however the flag is written."""
    await create(api, "api")
    await create(api, "checkout")
    await create(api, "user", ("checkout", "on"))
    place = (f"/environments/production/prerequisites/{pointer}", code)
    assert place in problems(await configure(api, "checkout", prerequisites=needs(wanted)))
    put = await api.ask("PUT", f"{FLAGS}/checkout", json=body("checkout", wanted))
    assert place in problems(put)


async def test_a_flag_that_comes_back_makes_no_cycle(api: Api) -> None:
    """Its users named it all the time, though it was deleted by force."""
    await create(api, "api")
    await create(api, "checkout", ("api", "on"))
    await api.ask("DELETE", f"{FLAGS}/api?force=true")
    refused = await api.ask("POST", FLAGS, json=body("api", ("checkout", "on")))
    place = "/environments/production/prerequisites/0/flag"
    assert (place, "prerequisite_cycle") in problems(refused)
    await create(api, "api")


async def test_a_cycle_is_one_within_an_environment_only(api: Api) -> None:
    """In staging the one may need the other, in production the other the one; until promoted."""
    await create(api, "a")
    await create(api, "b", ("a", "on"))
    staging = {"fallthrough": {"variant": "on"}, "prerequisites": needs(("b", "on"))}
    assert (await configure(api, "a", "staging", **staging)).status == 200
    copied = await api.ask(
        "POST", "/api/v1/environments/production/copy", json={"flag": "a", "from": "staging"}
    )
    place = "/environments/production/prerequisites/0/flag"
    assert (place, "prerequisite_cycle") in problems(copied)


async def test_a_variant_that_others_need_stays(api: Api) -> None:
    """Whoever takes it away is told who needs it; others may go."""
    variants = {"v1": "1", "v2": "2", "v3": "3"}
    config = {"fallthrough": {"variant": "v1"}}
    whole = {"key": "api", "type": "string", "variants": variants}
    await api.ask("POST", FLAGS, json=whole | {"environments": {"production": config}})
    for key in ("checkout", "basket"):
        await create(api, key, ("api", "v2"))
    reply = await api.ask("PATCH", f"{FLAGS}/api", json={"variants": {"v2": None, "v3": None}})
    assert problems(reply) == {("/variants", "variant_in_use")}
    assert "'v2' is a prerequisite of 'basket', 'checkout'" in reply.json["problems"][0]["message"]
    gone = await api.ask("PATCH", f"{FLAGS}/api", json={"variants": {"v3": None}})
    assert (gone.status, gone.json["variants"]) == (200, {"v1": "1", "v2": "2"})
    for key in ("checkout", "basket"):
        await configure(api, key, prerequisites=[])
    assert (await api.ask("PATCH", f"{FLAGS}/api", json={"variants": {"v2": None}})).status == 200


async def test_values_made_for_simple_bodies_are_kept_for_those_that_need_them(api: Api) -> None:
    """A setting that changes each hour drops what nobody serves, but not what others name."""
    await api.ask(
        "POST", FLAGS, json={"key": "level", "type": "integer", "value": 0, "enabled": True}
    )
    made = (await api.ask("PUT", f"{FLAGS}/level", json={"value": 1})).json["variants"]
    needed = next(name for name in made if name.startswith("value-"))
    await create(api, "checkout", ("level", needed))
    for value in range(2, 60):
        reply = await api.ask("PUT", f"{FLAGS}/level", json={"value": value})
        assert reply.status == 200
    assert needed in reply.json["variants"]
    assert len(reply.json["variants"]) < 58


async def test_going_back_must_not_take_a_variant_that_others_need(api: Api) -> None:
    """Nor name a flag that is gone."""
    await create(api, "api")
    await create(api, "checkout")
    await api.ask("PATCH", f"{FLAGS}/api", json={"variants": {"also": True}})
    assert (await configure(api, "checkout", prerequisites=needs(("api", "also")))).status == 200
    back = await api.ask("POST", "/api/v1/revert", json={"flag": "api", "version": 1})
    assert problems(back) == {("/variants", "variant_in_use")}
    await configure(api, "checkout", prerequisites=[])
    assert (await api.ask("DELETE", f"{FLAGS}/api")).status == 204
    back = await api.ask("POST", "/api/v1/revert", json={"flag": "checkout", "version": 2})
    assert ("/environments/production/prerequisites/0/flag", "unknown_flag") in problems(back)


async def test_what_is_published_carries_the_prerequisites(api: Api) -> None:
    """Of the environment it is for."""
    await create(api, "api")
    await create(api, "checkout", ("api", "on"))
    snapshots = api.app[REPLICA].project("default").snapshots
    lines = {name: snapshot.line("flag", "checkout") for name, snapshot in snapshots.items()}
    found = {
        name: msgspec.json.decode(read_entry(line or b"").definition).get("prerequisites")
        for name, line in lines.items()
    }
    wanted = needs(("api", "on"))
    assert found == {"production": wanted, "staging": None, "development": None}


async def test_sidecars_serve_users_of_a_flag_deleted_by_force_as_off(api: Api) -> None:
    """With the reason in the metadata; until the flag comes back."""
    await create(api, "api")
    await create(api, "checkout", ("api", "on"))

    def served() -> tuple[str, Any]:
        body = api.app[REPLICA].project("default").snapshots["production"].body()
        compiled = finish(compile_snapshot(finish(read_snapshot(body)).entries))
        assert not compiled.quarantined
        answer = evaluate(compiled, "checkout", {"targetingKey": "u"}, 0)
        return answer.variant, answer.metadata.get("prerequisite")

    assert served() == ("on", None)
    await api.ask("DELETE", f"{FLAGS}/api?force=true")
    assert served() == ("off", "api")
    await create(api, "api")
    assert served() == ("on", None)


async def test_only_flags_that_a_write_concerns_are_looked_at(api: Api) -> None:
    """Others cost nothing, nor do those who ask a flag that asks nobody and keeps its variants."""
    for key, *asked in (("a",), ("b", "a"), ("c", "b"), ("d",), ("e", "d"), ("f", "e", "b")):
        await create(api, key, *((other, "on") for other in asked))
    state = api.app[REPLICA].project("default")
    flags = {key: record.flag for key, record in state.flags.items()}

    def related(flag: Flag) -> str:
        return "".join(sorted(related_flags(state, flag)))

    assert [related(flags[key]) for key in "ac"] == ["a", "abc"]
    assert related(flags["b"]) == "abcdef"  # f asks it, and is at its bounds with e and d, too
    fewer = msgspec.structs.replace(flags["a"], variants={"on": True})
    assert related(fewer) == "abcdef"
    asking = msgspec.structs.replace(flags["a"], environments=flags["e"].environments)
    assert related(asking) == "abcdef"
    assert related(msgspec.structs.replace(flags["a"], key="new")) == "new"


# Two writers at once


def document(*wanted: tuple[str, str]) -> dict[str, Any]:
    """Return a merge patch of prerequisites in production."""
    return {"environments": {"production": {"prerequisites": needs(*wanted)}}}


async def patch(service: FlagService, key: str, changes: dict[str, Any]) -> None:
    """Apply a merge patch."""
    await service.patch(
        *("default", "production", key, changes),
        lambda data: decode_document(data, FlagInput),
        AUTHOR,
        any_version,
        rebucket=False,
    )


async def make(service: FlagService, key: str, variants: dict[str, bool]) -> None:
    """Create a flag."""
    given = msgspec.convert(body(key) | {"variants": variants}, FlagInput)
    await service.create("default", "production", given, AUTHOR)


async def until_known(replica: Replica, *keys: str) -> None:
    """Return when a replica has heard of flags that another one made."""
    async with asyncio.timeout(WAIT_S):
        while not all(key in replica.project("default").flags for key in keys):  # noqa: ASYNC110 - another replica, no shared event
            await asyncio.sleep(0.005)


async def test_two_racing_writers_on_two_replicas_cannot_make_a_cycle(store_url: str) -> None:
    """Each alone would be fine; one of the two is refused, however often it is tried."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        left, right = FlagService(one), FlagService(other)
        for number in range(25):
            a, b = f"a-{number}", f"b-{number}"
            await make(left, a, ON_OFF)
            await make(left, b, ON_OFF)
            await until_known(other, a, b)
            results = await asyncio.gather(
                patch(left, a, document((b, "on"))),
                patch(right, b, document((a, "on"))),
                return_exceptions=True,
            )
            refused = [result for result in results if result is not None]
            assert len(refused) == 1
            assert isinstance(refused[0], Invalid)
            assert [p.code for p in refused[0].problems] == [ProblemCode.PREREQUISITE_CYCLE]


async def test_a_variant_cannot_go_while_somebody_comes_to_need_it(store_url: str) -> None:
    """Taken away here and named there at once: either it stays, or nobody names it."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        left, right = FlagService(one), FlagService(other)
        for number in range(10):
            a, b = f"a-{number}", f"b-{number}"
            await make(left, a, ON_OFF | {"also": True})
            await make(left, b, ON_OFF)
            await until_known(other, a, b)
            results = await asyncio.gather(
                patch(left, a, {"variants": {"also": None}}),
                patch(right, b, document((a, "also"))),
                return_exceptions=True,
            )
            assert sum(isinstance(result, ApiError) for result in results) == 1
