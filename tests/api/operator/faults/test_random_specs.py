"""Specs by chance: refused at admission or ending in a clear condition, edits there and back, no loops of errors."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from agenttask_operator.observed import ANNOTATION_DIGEST
from hypothesis import HealthCheck, given, settings

from tests.api.client import Object
from tests.api.operator.faults.life import Life, Operators, Process
from tests.api.operator.faults.proxy import Proxy
from tests.api.operator.faults.runs import Stage
from tests.api.operator.faults.specs import specs
from tests.api.operator.world import Clock

ROOT: Final = Path(__file__).parents[4]
SCHEMA: Final = json.loads((ROOT / "runner/agenttask/spec.schema.json").read_text())
EXAMPLES: Final = 2000 if os.environ.get("DEEP") else 100


class Trial:
    """Examples, each with an operator and a loop of its own."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Operators]:
        copy, clock = self._stage.copy, Clock()
        async with (
            Proxy(target=copy.admin.host, context=copy.admin.anonymous) as proxy,
            Process(proxy=proxy, token=self._stage.token, clock=clock) as process,
        ):
            # Once more after all is done: a pod that is gone by then is an event of its own.
            yield Operators(first=process, second=process, looks=2)

    async def there_and_back(self, first: Object, second: Object) -> None:
        """A task with the first spec, edited to the second and back."""
        copy = self._stage.copy
        async with self.operator() as operators:
            name = f"s{secrets.token_hex(8)}"
            life = Life(
                copy=copy,
                cluster=None,  # type: ignore[arg-type]
                name=name,
                clock=operators.first.clock,
                operators=operators,
            )
            made = copy.admin.send("POST", copy.path(), body=copy.manifest(name=name, spec=first))
            if not made.accepted:
                assert made.status in {400, 422}, made.message
                assert made.message
                return
            try:
                before = await self._seen(life)
                if self._edit(life, second) and await self._seen(life) and self._edit(life, first):
                    after = await self._seen(life)
                    finished = {"Completed", "Failed", "Cancelled"} & {before.get("phase"), after.get("phase")}
                    assert finished or after == before
            finally:
                self._stage.clear(life)

    def _edit(self, life: Life, spec: Object) -> bool:
        """Replace the spec; whether that was taken. What was refused must say why."""
        copy = life.copy
        now = copy.admin.send("GET", copy.path(task=life.name))
        if not now.accepted:
            return False
        answer = copy.admin.send("PUT", copy.path(task=life.name), body={**now.body, "spec": spec})
        assert answer.accepted or (answer.status == 422 and answer.message), answer.message
        return answer.accepted

    async def _seen(self, life: Life) -> Object:
        """What a user sees once the operator has nothing more to do; empty where the task is gone."""
        await life.settle()
        if life.is_gone:
            return {}
        status = life.status
        assert status.get("phase"), status
        assert status.get("reason"), status
        assert status["observedGeneration"], status
        conditions = {one["type"]: one for one in status.get("conditions", [])}
        stalled = conditions.get("Stalled", {})
        if stalled.get("status") == "True":
            assert stalled["message"], stalled
        pod = life.pod(status.get("attempt", 0)) or {"metadata": {}}
        return {
            "phase": status["phase"],
            "reason": status["reason"],
            "stalled": stalled.get("reason") if stalled.get("status") == "True" else None,
            "accepted": (conditions["Accepted"]["status"], conditions["Accepted"]["reason"]),
            "made from": pod["metadata"].get("annotations", {}).get(ANNOTATION_DIGEST),
        }


@pytest.fixture
def trial(stage: Stage) -> Trial:
    """Kept over the examples of a test."""
    return Trial(stage)


@given(first=specs(SCHEMA), second=specs(SCHEMA))
@settings(
    max_examples=EXAMPLES,
    derandomize=not os.environ.get("DEEP"),
    suppress_health_check=list(HealthCheck),
)
def test_random_specs_end_in_a_clear_condition_and_edits_there_and_back_converge(
    trial: Trial, first: Any, second: Any
) -> None:
    asyncio.run(trial.there_and_back(first, second))
