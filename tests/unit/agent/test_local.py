"""Local runs: which manifest, which store, which run, which attempt."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pytest
from agenttask.cli import main
from agenttask.clock import ManualClock
from agenttask.contract import Assignment, Exit, ForkedFrom, Location, Model
from agenttask.errors import SpecInvalid
from agenttask.local import LocalRun, assign, code_of, prompt_of, run_file
from agenttask.manifest import Manifest, parse
from agenttask.store import Store
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import Attempts, Killed, kill

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
    "no prompt": ({**task(), "spec": {}}, "spec.prompt or spec.promptFrom is needed"),
    "a required field is missing": (task(agent={"model": {"name": "m"}}), "spec.agent.model.baseURL is needed"),
    "an unknown field of the pod": (task(pod={"imge": "x"}), "unknown field spec.pod.imge"),
    "below a bound": (task(budget={"steps": 0}), "spec.budget.steps: 0 is less than the minimum of 1"),
    "above a bound": (task(retry={"maxBackoffSeconds": 7200}), "spec.retry.maxBackoffSeconds"),
    "an empty text": (task(prompt=""), "spec.prompt"),
    "a text too long, which is not repeated": (task(prompt="x" * 65537), "spec.prompt: breaks maxLength: 65536"),
    "against a pattern": (
        task(agent={"model": {"baseURL": "ftp://m", "name": "m"}}),
        "spec.agent.model.baseURL: 'ftp://m' does not match",
    ),
    "a line break that Python's $ would let pass": (
        task(agent={"tools": [{"name": "t\n", "recovery": "Idempotent", "command": ["x"]}]}),
        "spec.agent.tools[0].name",
    ),
    "too many": (task(agent={"tools": [{"name": "t", "recovery": "Idempotent", "command": ["x"] * 65}]}), "command"),
    "a value that is not on the list": (task(checkpoint={"verify": "Twice"}), "spec.checkpoint.verify"),
    "two things at once": (task(budget={"steps": 0}, promt="x"), "spec.budget.steps: 0 is less than the minimum of 1"),
    "a name with a path in it": ({**task(), "metadata": {"name": "../x"}}, "metadata.name"),
    "a name too long for its pods": ({**task(), "metadata": {"name": "x" * 53}}, "metadata.name"),
    "a namespace that is none": ({**task(), "metadata": {"name": "x", "namespace": "A"}}, "metadata.namespace"),
    "no name": ({**task(), "metadata": {}}, "metadata.name"),
    "another version": ({**task(), "apiVersion": "agenttask.dev/v9"}, "agenttask.dev/v9"),
}


@pytest.mark.parametrize(("manifest", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_manifest_is_refused_by_name(manifest: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecInvalid) as error:
        parse(manifest, source="file.yaml")
    assert words in str(error.value)
    assert str(error.value).startswith("file.yaml: ")


CODE = {"configMapRef": {"name": "tools"}}
CONFIG_MAPS: dict[str, tuple[Any, str]] = {
    "one that is missing": ([], "there is no ConfigMap tools beside the task"),
    "another's": ([{"kind": "ConfigMap", "metadata": {"name": "x"}}], "there is no ConfigMap tools beside the task"),
    "one with a way out": ([{"kind": "ConfigMap", "metadata": {"name": "tools"}, "data": {"../x": ""}}], "../x"),
    "one of another kind of data": (
        [{"kind": "ConfigMap", "metadata": {"name": "tools"}, "data": {"a": 1}}],
        "ConfigMap tools: data.a: 1 is not of type",
    ),
}


@pytest.mark.parametrize(("others", "words"), CONFIG_MAPS.values(), ids=CONFIG_MAPS.keys())
def test_code_without_its_config_map_is_refused_by_name(others: list[Any], words: str) -> None:
    with pytest.raises(SpecInvalid, match=words), code_of(parse(task(code=CODE), source="file.yaml", others=others)):
        raise AssertionError


def test_a_prompt_may_stand_in_a_config_map_beside_the_task() -> None:
    prompts = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": {"a": "Hello."}}
    spec = {"promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "a"}}}
    manifest = parse({**task(), "spec": spec}, source="file.yaml", others=[prompts])
    assert prompt_of(manifest) == "Hello."
    assert prompt_of(parse({**task(), "spec": spec}, source="file.yaml")) is None
    with pytest.raises(SpecInvalid, match="at most one of"):
        parse(task(**spec), source="file.yaml")


def test_code_is_a_folder_for_as_long_as_the_run_lasts() -> None:
    tools = {"kind": "ConfigMap", "metadata": {"name": "tools"}, "data": {"mine.py": "x = 1\n"}}
    with code_of(parse(task(code=CODE), source="file.yaml", others=[tools])) as folder:
        assert folder is not None
        assert (Path(folder) / "mine.py").read_text() == "x = 1\n"
    assert not Path(folder).exists()
    with code_of(parse(task(), source="file.yaml")) as folder:
        assert folder is None


def write(folder: Path, **spec: Any) -> Path:
    file = folder / "task.yaml"
    file.write_text(json.dumps(task(**spec)))
    return file


class OpenedError(Exception):
    """A store was asked for."""


@dataclass
class Opens:
    """Remembers which store a run wants."""

    asked: list[tuple[Location, str]] = field(default_factory=list)

    def __call__(self, location: Location, *, verify: Literal["Checksum", "ReadBack"]) -> Store:
        self.asked.append((location, verify))
        raise OpenedError


@pytest.mark.parametrize(
    ("address", "kind"), [("some/dir", "filesystem"), ("s3://bucket/a", "s3"), ("redis://h:6379/0/a", "redis")]
)
def test_a_run_takes_every_kind_of_store_address(tmp_path: Path, address: str, kind: str) -> None:
    opens = Opens()
    with pytest.raises(OpenedError):
        run_file(path=write(tmp_path), store=address, fresh=False, open_store=opens)
    assert [location.type for location, _ in opens.asked] == [kind]


@pytest.mark.parametrize("verify", ["Checksum", "ReadBack"])
def test_a_run_verifies_as_its_manifest_says(tmp_path: Path, verify: str) -> None:
    opens = Opens()
    with pytest.raises(OpenedError):
        run_file(path=write(tmp_path, checkpoint={"verify": verify}), store="x", fresh=False, open_store=opens)
    assert [how for _, how in opens.asked] == [verify]


NEEDS_SOMEONE = {
    "the manifest is wrong": ({"budget": {"steps": 0}}, "some/dir", "spec.budget.steps"),
    "the store is none": ({}, "gopher://bucket", "gopher://bucket is no store"),
    "the store names no bucket": ({}, "s3:///x", "names no bucket"),
    "the store's address has a password in it": ({}, "redis://u:p@h:6379/0", "REDIS_PASSWORD"),
    "the manifest names no model": ({}, "some/dir", "AGENTTASK_MODEL_BASE_URL"),
}


@pytest.mark.parametrize(("spec", "address", "words"), NEEDS_SOMEONE.values(), ids=NEEDS_SOMEONE.keys())
def test_bad_input_of_a_run_exits_78_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: dict[str, Any], address: str, words: str
) -> None:
    memory = lambda location, *, verify: MemoryStore()  # noqa: E731
    assert run_file(path=write(tmp_path, **spec), store=address, fresh=False, open_store=memory) == Exit.STALLED
    assert words in capsys.readouterr().err


class Desk:
    """Local runs of one manifest on one store."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.clock = ManualClock()
        self.prompt = "p"

    async def assign(
        self, *, fresh: bool = False, environment: dict[str, str] = ENVIRONMENT, name: str = "task", **spec: Any
    ) -> Assignment:
        body = {**task(prompt=self.prompt, **spec), "metadata": {"name": name}}
        manifest: Manifest = parse(body, source="f")
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


async def test_a_fork_goes_on_from_the_newest_run_of_a_task() -> None:
    desk = Desk()
    await desk.begin(await desk.assign())
    await desk.begin(await desk.assign(fresh=True))
    fork = await desk.assign(name="fork", resumeFrom={"task": "task"})
    key = f"local/task/local-2/log/{2:012d}"
    assert fork.forked_from == ForkedFrom(task="task", uid="local-2", key=key, seq=2)
    await desk.begin(fork)
    for each in [key for key in desk.objects if key.startswith("local/task/")]:
        del desk.objects[each]
    again = await desk.assign(name="fork", resumeFrom={"task": "task"})
    assert (again.attempt, again.forked_from) == (2, None), "it has begun, and needs the original no more"
    desk.prompt = "q"
    with pytest.raises(SpecInvalid, match="--fresh"):
        await desk.assign(name="fork", resumeFrom={"task": "task"})


async def test_no_model_is_refused_naming_the_variables() -> None:
    with pytest.raises(SpecInvalid, match="AGENTTASK_MODEL_BASE_URL"):
        await Desk().assign(environment={})


def test_the_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"agenttask {version('agenttask')}\n"
