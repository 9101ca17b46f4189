"""A key that is shown to a sidecar was used, and the control plane says when."""

from datetime import UTC, datetime

from proxy.app import running
from proxy.settings import ProxySettings
from tests.support.api import running_api, until

EVALUATE = "/ofrep/v1/evaluate/flags/f"


async def test_a_key_that_evaluates_is_a_key_in_use(redis_url: str) -> None:
    """One that is refused is not; nor is what was never shown."""
    async with running_api(redis_url, redis_timeout_s=10.0) as api:
        flag = {"key": "f", "type": "boolean", "value": True}
        assert (await api.ask("POST", "/api/v1/flags", json=flag)).status == 201
        keys = {kind: await api.make_key(kind) for kind in ("sidecar", "server", "client")}
        began = datetime.now(UTC)
        settings = {
            "MATRIXFLAG_CONTROL_PLANE_URL": api.url,
            "MATRIXFLAG_KEY": keys["sidecar"]["key"],
            "MATRIXFLAG_STANDING_INTERVAL_S": "5",
        }
        async with running(ProxySettings.load(settings, {"port": "0", "admin_port": "0"})) as it:

            async def ask(key: str) -> int:
                headers = {"Authorization": f"Bearer {key}"}
                url = it.ofrep + EVALUATE
                async with api.session.post(url, json={}, headers=headers) as answer:
                    return answer.status

            async def evaluates() -> bool:
                return await ask(keys["server"]["key"]) == 200

            await until(evaluates)
            assert await ask(keys["sidecar"]["key"]) == 403
            assert await ask("mf_client_" + "x" * 43) == 401

            async def used() -> dict[str, str | None]:
                items = (await api.ask("GET", "/api/v1/keys")).json["items"]
                return {key["kind"]: key["last_used_at"] for key in items}

            async def is_told() -> bool:
                return (await used())["server"] is not None

            await until(is_told, 40)
            at = await used()
            assert at["client"] is None
            assert began <= datetime.fromisoformat(str(at["server"])) <= datetime.now(UTC)
