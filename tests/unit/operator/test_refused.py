"""A pod that the API server, or a webhook behind it, does not let be made."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask_operator.answers import ClusterError, ConflictError, NotFoundError, RefusedError
from agenttask_operator.observed import Phase, read_task
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import entry, status
from tests.unit.operator.test_gather import KEY, Server, reconciler, stored

NO = 'admission webhook "pods.policy.example.com" denied the request: not here'


class Refusing(Server):
    """Makes no pod."""

    error: ClusterError

    async def _call(self, method: str, path: str, **more: Any) -> Any:
        if method == "POST":
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
