"""An endpoint with certificates of its own, behind TLS for real."""

from __future__ import annotations

import secrets
from decimal import Decimal
from pathlib import Path

from agenttask.contract import ENV_MODEL_API_KEY, ENV_MODEL_CA, Exit, Fallback, Model, Price

from tests.api.runner.model_task import KEY, ModelTask
from tests.api.store.certificates import Authority
from tests.api.store.relay import relay
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.tools import ToolServer

PRICE = Price(input=Decimal(1), output=Decimal(2))


async def test_the_certificates_beside_an_endpoint_vouch_for_it_and_for_no_other(
    model: ScriptedModel, tool_server: ToolServer, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    name = f"m-{secrets.token_hex(8)}"
    async with relay(model.base_url, tls=authority.certify().context()) as behind_tls:
        at = behind_tls.endpoint
        own = Model(base_url=at, name=name, price=PRICE, max_retries=0)
        trusting = ModelTask(
            name=name,
            model=own,
            scripted=model,
            tools=tool_server,
            secrets={ENV_MODEL_API_KEY: KEY, ENV_MODEL_CA: authority.certificate},
        )
        trusting.script()
        assert (await trusting.run()).answer == trusting.answer

        fallback = Fallback(name=name, base_url=at, price=PRICE)
        other = Model(base_url=at, name=name, price=PRICE, max_retries=0, fallbacks=(fallback,))
        # The fallback's certificates are not the main endpoint's, and the main one's not the fallback's.
        for secret in (ENV_MODEL_CA, f"{ENV_MODEL_CA}_1"):
            task = ModelTask(
                name=name,
                model=other,
                scripted=model,
                tools=tool_server,
                secrets={ENV_MODEL_API_KEY: KEY, secret: authority.certificate},
            )
            assert (await task.run()).exit is Exit.FINAL
            failed = [one.message for one in await task.failed()]
            assert all("CERTIFICATE_VERIFY_FAILED" in message for message in failed)
            assert bool(failed) == (secret != ENV_MODEL_CA)
        stranger = ModelTask(name=name, model=own, scripted=model, tools=tool_server, secrets={})
        ending = await stranger.run()
        assert (ending.exit, ending.reason) == (Exit.STALLED, "ModelUnavailable")
        assert "CERTIFICATE_VERIFY_FAILED" in ending.message
