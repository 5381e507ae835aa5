"""What the runners of the fake nodes' pods do as far as the API server sees it.

A runner's container starts: it reports its claim. A second later it reports its result and its container ends with
exit code 0 and the runner's message, which is written here in the kubelet's place; or, if the task is to stay, it
works on, and reports its progress every ten seconds once that is asked for.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Final

import msgspec
from agenttask import contract

from benchmarks.operator.api import MERGE, Api, Event, Object, RefusedError
from benchmarks.operator.fleet import DWELL_SECONDS, ENDS

REPORT_SECONDS: Final = 10.0
"""How often a real runner reports progress at most."""


class Runners:
    """Stand-ins for the runners of all pods a watch shows.

    Args:
        api: where they report.
        group: the API group of their tasks.
    """

    def __init__(self, *, api: Api, group: str) -> None:
        self._api = api
        self._group = group
        self._working: dict[str, asyncio.Task[None]] = {}
        self.reporting = False
        """Whether those that stay report progress."""
        self.reports = 0
        """How many such reports they have made."""

    def see(self, event: Event) -> None:
        """What a watch of the pods shows."""
        pod = event.object
        meta = pod.metadata
        gone = event.type == "DELETED" or meta.deletion_timestamp is not None
        if gone:
            worker = self._working.pop(meta.uid, None)
            if worker is not None:
                worker.cancel()
        elif pod.status.phase == "Running" and meta.uid not in self._working:
            self._working[meta.uid] = asyncio.create_task(self._work(event))

    async def stop(self) -> None:
        """End all of them, where they stand."""
        workers = list(self._working.values())
        self._working = {}
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, event: Event) -> None:
        meta = event.object.metadata
        attempt = int(meta.labels[f"{self._group}/attempt"])
        try:
            await self._report(event, attempt=attempt, step=0)
            if meta.labels.get(ENDS) == "told":
                await asyncio.sleep(DWELL_SECONDS)
                await self._report(event, attempt=attempt, step=1)
                await self._end(event, attempt=attempt)
            else:
                await self._work_on(event, attempt=attempt)
        except RefusedError as refused:
            # Its task or pod went meanwhile.
            if refused.status not in {404, 409}:
                raise

    async def _work_on(self, event: Event, *, attempt: int) -> None:
        step = 1
        await asyncio.sleep(random.uniform(0, REPORT_SECONDS))
        while True:
            if self.reporting:
                await self._report(event, attempt=attempt, step=step)
                self.reports += 1
                step += 1
            await asyncio.sleep(REPORT_SECONDS)

    async def _report(self, event: Event, *, attempt: int, step: int) -> None:
        meta = event.object.metadata
        name = event.object.owner
        body = {
            "apiVersion": f"{self._group}/{contract.VERSION}",
            "kind": contract.KIND,
            "metadata": {"name": name},
            "status": msgspec.to_builtins(_told(attempt=attempt, step=step)),
        }
        await self._api.send(
            "PATCH",
            f"/apis/{self._group}/{contract.VERSION}/namespaces/{meta.namespace}/{contract.PLURAL}/{name}/status",
            body=body,
            content_type=contract.APPLY_CONTENT_TYPE,
            fieldManager=contract.RUNNER_MANAGER,
            **contract.APPLY_OPTIONS,
        )

    async def _end(self, event: Event, *, attempt: int) -> None:
        meta = event.object.metadata
        message = contract.Termination(
            contract=contract.CONTRACT,
            outcome=contract.Outcome.COMPLETED,
            reason=contract.RunnerReason.COMPLETED,
            message="The model gave its final answer.",
            attempt=attempt,
        )
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
        container: Object = {
            "name": contract.CONTAINER,
            "image": "none.invalid/runner",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": {**ended, "message": msgspec.json.encode(message).decode()}},
        }
        await self._api.send(
            "PATCH",
            f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}/status",
            body={"status": {"phase": "Succeeded", "containerStatuses": [container]}},
            content_type=MERGE,
        )


def _told(*, attempt: int, step: int) -> contract.RunnerStatus:
    seq = attempt * 10_000 + step
    calls = step
    return contract.RunnerStatus(
        checkpoint=contract.CheckpointStatus(
            key=f"bench/log/{seq:012d}",
            id=f"{seq}-0123456789ab",
            seq=seq,
            step=step,
            attempt=attempt,
            digest="d" * 64,
            progress_digest=f"{step:064d}",
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            size_bytes=1000,
            parent_id=f"{seq - 1}-0123456789ab",
        ),
        progress=contract.ProgressStatus(
            step=step, max_steps=5000, display=f"{step}/5000", message="Working on it.", model="small"
        ),
        usage=contract.UsageStatus(
            model_calls=calls,
            repeated_model_calls=0,
            failed_model_calls=0,
            unpriced_model_calls=0,
            tool_calls=calls,
            prompt_tokens=1000 * calls,
            cached_tokens=0,
            completion_tokens=100 * calls,
            reasoning_tokens=0,
            total_tokens=1100 * calls,
            attempts=(contract.AttemptUsage(attempt=attempt, model_calls=calls, repeated_model_calls=0),),
        ),
    )
