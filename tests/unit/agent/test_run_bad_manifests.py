"""Bad manifests: each ends in one clear condition, after no more calls than it takes to know."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import msgspec
import pytest
from agenttask.contract import Exit, HttpTool, Outcome, Sleep, Tool

from tests.unit.agent.conftest import Attempts


def tool(*, url: str = "http://tool.test/echo", **parameters: object) -> Tool:
    return Tool(name="echo", recovery="Idempotent", http=HttpTool(url=url), parameters=dict(parameters))


@dataclass(frozen=True, kw_only=True)
class Case:
    tool: Tool | None = None
    status: int | None = None
    """What the model's endpoint answers; 0: nobody is there."""
    reason: str
    says: str
    calls: int = 0


CASES = {
    "a bad JSON Schema": Case(
        tool=tool(type="objekt"), reason="SpecInvalid", says="no sound JSON Schema: type: 'objekt'"
    ),
    "a schema that wants to be fetched": Case(
        tool=tool(properties={"a": {"$ref": "http://192.0.2.1/a.json"}}), reason="SpecInvalid", says="leads to nothing"
    ),
    "a template that is not closed": Case(
        tool=tool(url="http://tool.test/{{n", type="object", properties={"n": {}}),
        reason="SpecInvalid",
        says="tool echo",
    ),
    "a template of an argument that there is not": Case(
        tool=tool(url="http://tool.test/{{m}}", type="object", properties={"n": {}}), reason="SpecInvalid", says="{{m}}"
    ),
    "a doubt about what may run twice": Case(
        tool=msgspec.structs.replace(tool(), on_doubt="TellModel"),
        reason="SpecInvalid",
        says="tool echo: onDoubt TellModel is for the recovery Once",
    ),
    "a sleep with a timeout": Case(
        tool=Tool(name="echo", sleep=Sleep(), timeout_seconds=5),
        reason="SpecInvalid",
        says="tool echo: onDoubt, timeoutSeconds and maxResultBytes do nothing for a tool that sleeps",
    ),
    "brackets that hold no address": Case(
        tool=tool(url="http://[::1/x"),
        reason="SpecInvalid",
        says="http://[::1/x is no address: Invalid IPv6 URL",
    ),
    "a port that there is not": Case(
        tool=tool(url="http://tool.test:99999/x"), reason="SpecInvalid", says="is no address: Port out of range 0-65535"
    ),
    "a wrong key": Case(status=401, reason="ModelDenied", says="401", calls=1),
    "a model that there is not": Case(status=404, reason="ModelNotFound", says="404", calls=1),
    "an unreachable model": Case(status=0, reason="ModelUnavailable", says="ConnectError", calls=4),
}


@pytest.mark.parametrize("sentence", CASES)
async def test_a_bad_manifest_stalls_with_one_clear_condition(attempts: Attempts, sentence: str) -> None:
    case = CASES[sentence]
    attempts.tool = case.tool or attempts.tool

    async def refuse(request: httpx.Request) -> httpx.Response | None:
        if case.status == 0:
            raise httpx.ConnectError("nobody there", request=request)
        return httpx.Response(case.status, json={"error": {"message": "no"}}) if case.status is not None else None

    attempts.world.before_model = refuse
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.reason) == (Exit.STALLED, Outcome.STALLED, case.reason)
    assert case.says in ending.message
    assert len(attempts.world.model_calls) == case.calls


async def test_a_tool_that_there_is_not_is_told_to_the_model_and_the_run_goes_on(attempts: Attempts) -> None:
    attempts.tool = Tool(name="other", recovery="Idempotent", http=HttpTool(url="http://tool.test/echo"))
    ending = await attempts.run(1)
    assert ending.outcome is Outcome.COMPLETED
    assert b"there is no tool named echo; the tools are: other" in attempts.world.model_calls[-1]
