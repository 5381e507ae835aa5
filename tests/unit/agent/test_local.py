"""Local runs: which manifest, which store, which run, which attempt."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from agenttask.cli import main
from agenttask.clock import ManualClock
from agenttask.contract import Assignment, Location, Model
from agenttask.errors import SpecInvalid
from agenttask.local import LocalRun, assign, location_of
from agenttask.manifest import Manifest, parse
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import Attempts, Killed

ENVIRONMENT = {"AGENTTASK_MODEL_BASE_URL": "http://model.test/v1", "AGENTTASK_MODEL_NAME": "m"}
LOCATION = Location(type="filesystem", path="/somewhere")


def task(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "agenttask.dev/v1alpha1",
        "kind": "AgentTask",
        "metadata": {"name": "task", "labels": {"a": "b"}},
        "spec": {"prompt": "p", **spec},
    }


def test_a_whole_manifest_is_understood() -> None:
    tool = {"name": "t", "recovery": "Idempotent", "parameters": {"any": {"thing": 1}}, "command": ["x"]}
    manifest = parse(
        task(
            agent={"systemPrompt": "s", "model": {"baseURL": "http://m", "name": "m"}, "tools": [tool]},
            budget={"steps": 3},
            pod={"env": [{"name": "X"}]},
        ),
        source="f",
    )
    assert manifest.spec.agent.model == Model(base_url="http://m", name="m")
    assert manifest.spec.agent.tools[0].parameters == {"any": {"thing": 1}}
    assert (manifest.name, manifest.namespace, manifest.spec.budget.steps) == ("task", None, 3)


WRONG = {
    "an unknown field": (task(promt="x"), "unknown field spec.promt"),
    "one deeper": (task(agent={"model": {"baseURL": "u", "name": "m", "key": "k"}}), "spec.agent.model.key"),
    "one in a list": (
        task(agent={"tools": [{"name": "t", "recovery": "Idempotent", "commnd": ["x"]}]}),
        "spec.agent.tools[0].commnd",
    ),
    "a recovery that does not exist": (
        task(agent={"tools": [{"name": "t", "recovery": "Never", "command": ["x"]}]}),
        "recovery",
    ),
    "a wrong type": (task(budget={"steps": "many"}), "budget.steps"),
    "no prompt": ({**task(), "spec": {}}, "prompt"),
    "no name": ({**task(), "metadata": {}}, "metadata.name"),
    "another version": ({**task(), "apiVersion": "agenttask.dev/v9"}, "agenttask.dev/v9"),
}


@pytest.mark.parametrize(("manifest", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_manifest_is_refused_by_name(manifest: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecInvalid) as error:
        parse(manifest, source="file.yaml")
    assert words in str(error.value)
    assert str(error.value).startswith("file.yaml: ")


def test_a_folder_or_a_bucket() -> None:
    assert location_of(store="some/dir", environment={}).path == str(Path.cwd() / "some/dir")
    environment = {"AWS_REGION": "eu", "AWS_ENDPOINT_URL": "http://s3"}
    assert location_of(store="s3://bucket/a/b/", environment=environment) == Location(
        type="s3", bucket="bucket", prefix="a/b", endpoint="http://s3", region="eu"
    )
    with pytest.raises(SpecInvalid):
        location_of(store="s3:///x", environment={})


class Desk:
    """Local runs of one manifest on one store."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.clock = ManualClock()
        self.prompt = "p"

    async def assign(self, *, fresh: bool = False, environment: dict[str, str] = ENVIRONMENT) -> Assignment:
        manifest: Manifest = parse(task(prompt=self.prompt), source="f")
        return await assign(
            run=LocalRun(manifest=manifest, location=LOCATION, fresh=fresh),
            store=MemoryStore(self.objects),
            clock=self.clock,
            environment=environment,
        )

    async def begin(self, assignment: Assignment) -> None:
        """Claim and start, then die at the first model call."""

        class Running(Attempts):
            def assignment(self, *, number: int) -> Assignment:
                return assignment

        attempts = Running(objects=self.objects)

        async def kill(_: object) -> None:
            raise Killed

        attempts.world.before_model = kill
        with pytest.raises(Killed):
            await attempts.run(assignment.attempt)


async def test_a_first_run_then_a_second_attempt_of_it_then_a_fresh_one() -> None:
    desk = Desk()
    first = await desk.assign()
    assert (first.namespace, first.uid, first.attempt) == ("local", "local", 1)
    await desk.begin(first)
    second = await desk.assign()
    assert (second.uid, second.attempt) == ("local", 2)
    fresh = await desk.assign(fresh=True)
    assert (fresh.uid, fresh.attempt) == ("local-2", 1)
    await desk.begin(fresh)
    resumed = await desk.assign()
    assert (resumed.uid, resumed.attempt) == ("local-2", 2)


async def test_another_prompt_is_refused_naming_fresh() -> None:
    desk = Desk()
    await desk.begin(await desk.assign())
    desk.prompt = "another"
    with pytest.raises(SpecInvalid, match="--fresh"):
        await desk.assign()
    assert (await desk.assign(fresh=True)).uid == "local-2"


async def test_no_model_is_refused_naming_the_variables() -> None:
    with pytest.raises(SpecInvalid, match="AGENTTASK_MODEL_BASE_URL"):
        await Desk().assign(environment={})


def test_the_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"agenttask {version('agenttask')}\n"
