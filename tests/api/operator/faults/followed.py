"""A task under an operator nobody drives: the script of its life goes on once it is where it was to come to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tests.api.client import Object
from tests.api.operator.faults.ends import resting, unlike
from tests.api.operator.faults.history import History
from tests.api.operator.world import World


@dataclass(kw_only=True)
class Followed(World):
    """One task, its script, and what the undisturbed life was each time it had settled."""

    history: History
    rests: list[Object]
    patience_seconds: float
    _passed: int = 0
    _seen: int = 0
    _tasks: dict[str, Object] = field(default_factory=dict)
    _pods: dict[str, Object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """No operator of its own."""

    async def settle(self) -> float | None:
        """Wait until it is what the undisturbed life was here."""
        want = self.rests[self._passed]
        self._passed += 1
        self._until(lambda: [f"at rest {self._passed}: {line}" for line in unlike(want, self._resting())])
        return None

    async def begin(self, attempt: int, *, step: int = 0, resumed_from: str | None = None) -> None:
        """As there, once there is a pod."""
        self._until(lambda: [] if self.pod(attempt) is not None else [f"no pod of attempt {attempt}"])
        await super().begin(attempt, step=step, resumed_from=resumed_from)

    def _until(self, missing: Any) -> None:
        deadline = time.monotonic() + self.patience_seconds
        while lines := missing():
            left = deadline - time.monotonic()
            assert left > 0, "; ".join(lines)
            for one in self.history.following(self.name, seen=self._seen, seconds=left):
                self._seen += 1
                known = self._tasks if one.kind == "task" else self._pods
                known[one.uid] = one.object
                if one.type == "DELETED":
                    del known[one.uid]

    def _resting(self) -> Object:
        # Of two of a name one is on its way out, and the newer one is meant.
        task = max(self._tasks.values(), key=lambda one: int(one["metadata"]["resourceVersion"]), default=None)
        return resting(task, name=self.name, pods=self._pods.values())
