"""What `agenttask log show` tells of calls in doubt: which they were, and what settled each."""

from __future__ import annotations

import httpx
import pytest

from tests.unit.agent.conftest import Attempts, Killed, kill
from tests.unit.agent.test_run_recovery import echo, task
from tests.unit.logtool.desks import Looker


async def shown(attempts: Attempts) -> list[str]:
    """The headings, and what stands under an attempt's."""
    looker = Looker(objects=attempts.objects)
    assert await looker.run("show") == 0
    return [line for line in looker.out.getvalue().splitlines() if line.startswith(("===", "result", "    in doubt"))]


async def lost(attempts: Attempts, *, place: str) -> Attempts:
    """Killed in its first tool call."""
    setattr(attempts.world, place, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    setattr(attempts.world, place, None)
    return attempts


async def test_a_call_in_doubt_is_named_where_the_attempt_began_that_found_it() -> None:
    attempts = await lost(task(echo("Once", "TellModel"), turns=2, width=1), place="after_tool")
    await attempts.run(2)
    told = await shown(attempts)
    assert "    in doubt, since nobody recorded how it ended: 3.0 echo" in told
    (result,) = (line for line in told if line.startswith("result 3.0 echo"))
    assert "failed, was in doubt: nobody knows, and the model was told so" in result


async def test_a_probe_that_knew_is_told() -> None:
    attempts = await lost(task(echo("Reconcile"), turns=2, width=1), place="after_tool")
    await attempts.run(2)
    assert any("was in doubt: the tool's probe knew" in line for line in await shown(attempts))


async def test_a_call_that_ran_once_more_is_told() -> None:
    attempts = await lost(task(echo("Reconcile"), turns=2, width=1), place="before_tool")
    await attempts.run(2)
    told = await shown(attempts)
    assert any(line.startswith("=== 3.0 was in doubt and runs once more: the tool's probe knew") for line in told)


async def test_what_its_own_runner_left_is_told() -> None:
    attempts = task(echo("Once"), turns=2, width=1)

    async def overtaken(_: httpx.Request) -> None:
        attempts.world.before_tool = None
        await attempts.run(2)

    attempts.world.before_tool = overtaken
    await attempts.run(1)
    await attempts.run(3)
    assert any("was in doubt: its own runner left what it gave" in line for line in await shown(attempts))
