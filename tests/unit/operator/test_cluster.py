"""What is asked of the API server, word for word, and what is taken of its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from agenttask_operator.answers import NamespaceEndsError, RefusedError
from agenttask_operator.cluster import Cluster

from tests.unit.operator.builders import UID, raw_pod, task


@dataclass(kw_only=True)
class Answer:
    """One answer of the server."""

    status: int = 200
    content: Any
    headers: dict[str, str] = field(default_factory=dict)

    async def read(self) -> bytes:
        return msgspec.json.encode(self.content)


class Api:
    """A session at a server that has these objects, by path, and remembers what it was told."""

    default_headers: dict[str, str] = {}  # noqa: RUF012 - as the client has it
    host = "https://api.invalid"

    def __init__(self, **objects: Answer) -> None:
        self._objects = objects
        self.bodies: list[Any] = []
        self.rest_client = self
        self.configuration = self

    async def update_params_for_auth(self, *_: Any) -> None:
        """Nobody is asked for a name here."""

    async def request(self, method: str, url: str, *, body: Any = None, **_: Any) -> Answer:
        self.bodies.append(body)
        name = url.partition("?")[0].rpartition("/")[2]
        return self._objects.get(name) or Answer(status=404, content={"message": "not found"})


def pod(name: str, **more: Any) -> Answer:
    return Answer(content=raw_pod(name=name, **more))


async def test_of_pods_read_by_name_only_those_count_that_the_task_controls_and_that_bear_its_name() -> None:
    api = Api(
        mine=pod("mine"),
        predecessors=pod("predecessors", owner="the-uid-of-one-deleted-before"),
        relabelled=pod("relabelled", of="other"),
    )
    names = ["gone", "mine", "predecessors", "relabelled"]
    found = await Cluster(cast(Any, api)).pods_named(task=task(), names=names)
    assert [one.metadata.name for one in found] == ["mine"]


async def test_a_task_is_deleted_only_as_it_was_read() -> None:
    api = Api(triage=Answer(content={}))
    await Cluster(cast(Any, api)).delete_task(task())
    assert api.bodies[0]["preconditions"] == {"uid": UID, "resourceVersion": "7"}


async def test_a_namespace_that_is_being_deleted_is_told_from_other_refusals() -> None:
    said = {"message": "no", "reason": "Forbidden"}
    refusals = {"quota": said, "ends": {**said, "details": {"causes": [{"reason": "NamespaceTerminating"}]}}}
    raised = {}
    for name, content in refusals.items():
        try:
            await Cluster(cast(Any, Api(pods=Answer(status=403, content=content)))).create_pod(
                {"metadata": {"namespace": "agents"}}
            )
        except RefusedError as error:
            raised[name] = type(error)
    assert raised == {"quota": RefusedError, "ends": NamespaceEndsError}
