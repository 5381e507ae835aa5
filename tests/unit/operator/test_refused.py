"""A pod that the API server, or a webhook behind it, does not let be made."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask_operator.answers import ClusterError, ConflictError, NotFoundError, RefusedError
from agenttask_operator.observed import Phase, read_task
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import ahead, entry, status
from tests.unit.operator.test_gather import KEY, Server, reconciler, stored

NO = 'admission webhook "pods.policy.example.com" denied the request: not here'


class Refusing(Server):
    """Makes no pod."""

    error: ClusterError | None = None

    async def _call(self, method: str, path: str, **more: Any) -> Any:
        if method == "POST" and self.error is not None:
            raise self.error
        return await super()._call(method, path, **more)


@pytest.mark.parametrize("kind", [RefusedError, NotFoundError, ConflictError])
async def test_a_task_says_so_whatever_the_code_with_which_its_pod_is_refused(kind: type[ClusterError]) -> None:
    """A webhook may deny with 404 or 409 as well: taken for a race, it was tried 20 times a second and never told."""
    raw = stored(status(entry(1)))
    server = Refusing(raw)
    server.error = kind(NO)
    made = reconciler(server)
    await made.reconcile(KEY)
    told = made.judge(task=read_task(raw), pods=())
    assert told.status is not None
    assert (told.rule, told.status.phase, told.status.reason) == ("refused", Phase.PENDING, Reason.POD_REFUSED)
    assert told.status.message == NO
    assert told.after_seconds == 2


async def test_a_refusal_is_none_of_the_next_task_s_of_that_name() -> None:
    raw = stored(status(entry(1)))
    server = Refusing(raw)
    server.error = RefusedError(NO)
    made = reconciler(server)
    await made.reconcile(KEY)
    del server._objects[KEY.name]
    await made.reconcile(KEY)
    assert made.judge(task=read_task(raw), pods=()).rule == "creating"


async def test_each_refusal_in_a_row_waits_longer_and_a_pod_that_is_made_ends_the_row() -> None:
    raw = stored(status(entry(1)))
    server = Refusing(raw)
    made = reconciler(server)
    waits: list[float | None] = []
    for error in (RefusedError(NO), RefusedError(NO), None, RefusedError(NO)):
        server.error = error
        made._clock = lambda: ahead(3600 * len(waits))
        await made.reconcile(KEY)
        waits.append(made.judge(task=read_task(raw), pods=()).after_seconds)
    assert waits == [2, 4, None, 2]
