"""An agent out of nothing but manifests: its prompt and its tools are ConfigMaps, its answer has a form."""

from __future__ import annotations

from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import calls, says
from tests.e2e.harness.wait import until

MODULE = '''
"""Tools of mine."""


def double(n: int) -> dict[str, int]:
    return {"doubled": 2 * n}
'''
FORM = {
    "format": "Json",
    "schema": {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]},
}


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_prompt_and_a_python_tool_come_from_config_maps_and_the_answer_is_json_after_a_repair_and_a_lost_pod(
    start: Start, witness: Witnesses, api: Api, home: str
) -> None:
    api.create(Kind.CONFIG_MAP, config_map("tools", **{"tools_of_mine.py": MODULE}), namespace=home)
    double = {"name": "double", "python": "tools_of_mine:double", "parameters": {"type": "object"}}
    task = start(
        "doubler",
        [calls(("double", {"n": 21})), says("It is 42."), says('{"total": 42}')],
        hold_after=1,
        spec={
            "prompt": None,
            "promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "doubling"}},
            "code": {"configMapRef": {"name": "tools"}},
        },
        agent={"tools": [{**double, "recovery": "Idempotent"}], "output": FORM},
    )

    stalled = task.wait_stalled("SpecInvalid")
    assert stalled["message"].endswith("spec.promptFrom: there is no ConfigMap prompts with a prompt as doubling")
    assert witness.model.begun(task.model) == 0
    api.create(Kind.CONFIG_MAP, config_map("prompts", doubling="Double what is there."), namespace=home)
    until(
        lambda: witness.model.begun(task.model) >= 2,
        what="the model is asked again, after the tool",
        seen=task.describe,
    )
    api.merge(Kind.CONFIG_MAP, "prompts", {"data": {"doubling": "Halve what is there."}}, namespace=home)
    struck = task.status()["attempt"]
    api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=home, grace_seconds=0)
    task.wait_claimed(struck + 1)
    witness.model.release(task.model)

    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"]) == ("Completed", '{"total": 42}')
    assert status["counts"]["resumes"] >= 1
    asked = witness.model.journal(task.model)
    assert {call.turn for call in asked} == {0, 1, 2}
    assert sum(witness.model.repeated(task.model).values()) <= 1
    prompts = {message["content"] for call in asked for message in call.messages[:2] if message["role"] == "user"}
    assert prompts == {"Double what is there."}, "what the first attempt read is what all ask"
    assert any(message["content"] == '{"doubled": 42}' for message in asked[-1].messages)
    assert "it is not JSON" in asked[-1].messages[-1]["content"]
