"""Prompts out of ConfigMaps: read once, by the first attempt, and the same for all."""

from __future__ import annotations

import msgspec
import pytest
from agenttask.contract import Outcome, PromptFrom, PromptKeyRef

from tests.unit.agent.conftest import Attempts, Killed, at_call, kill

SOURCE = PromptFrom(config_map_key_ref=PromptKeyRef(name="prompts"))


def prompts(attempts: Attempts) -> list[str]:
    """What each request asked."""
    return [msgspec.json.decode(sent)["messages"][0]["content"] for sent in attempts.world.model_calls]


@pytest.fixture
def from_map(attempts: Attempts) -> Attempts:
    attempts.prompt, attempts.prompt_from = None, SOURCE
    attempts.prompts["prompt"] = "What a day!"
    return attempts


async def test_a_prompt_out_of_a_config_map_is_what_the_model_is_asked(from_map: Attempts) -> None:
    ending = await from_map.run(1)
    assert ending.outcome is Outcome.COMPLETED
    assert set(prompts(from_map)) == {"What a day!"}


@pytest.mark.parametrize("later", [{"prompt": "What a night!"}, {}])
async def test_later_attempts_ask_what_the_first_one_read(from_map: Attempts, later: dict[str, str]) -> None:
    from_map.world.before_model = at_call(2, kill)
    with pytest.raises(Killed):
        await from_map.run(1)
    from_map.world.before_model, from_map.prompts = None, later
    ending = await from_map.run(2)
    assert ending.answer == from_map.world.answer()
    assert set(prompts(from_map)) == {"What a day!"}


@pytest.mark.parametrize("there", [{}, {"prompt": ""}, {"prompt": " \n"}], ids=["no key", "empty", "blank"])
async def test_without_a_prompt_in_the_config_map_the_task_stalls_and_heals_when_it_comes(
    from_map: Attempts, there: dict[str, str]
) -> None:
    from_map.prompts = there
    ending = await from_map.run(1)
    assert (ending.outcome, ending.reason) == (Outcome.STALLED, "SpecInvalid")
    assert ending.message == "spec.promptFrom: there is no ConfigMap prompts with a prompt as prompt"
    assert not from_map.world.model_calls
    from_map.prompts["prompt"] = "What a day!"
    assert (await from_map.run(2)).outcome is Outcome.COMPLETED
