"""Liveness, readiness and metrics over HTTP.

Alive: the resync loop turns, and the watches show what a listing shows. An unreachable API server is no reason to
restart: it is waited out, unready. Ready: the API server answers, knows AgentTasks, and has the policy that fences
their status, without which any runner could write over the work of any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from agenttask_operator.metrics import Metrics

PORT: Final = 8080
LOOP_SECONDS: Final = 300
"""Least time after which a resync loop that does not turn is taken for dead."""


class Health:
    """What the probes answer from.

    Args:
        clock: monotonic seconds.
        resync_seconds: how long a turn of the loop rests.
    """

    def __init__(self, *, clock: Callable[[], float], resync_seconds: float = 0) -> None:
        self._clock = clock
        self._patience = max(LOOP_SECONDS, 3 * resync_seconds)
        self._turned = clock()
        self.silent: str | None = None
        """Of what the watch was found to be silent, None while all keep up."""
        self.missing: str | None = "not started"
        """Why the operator is not ready, None when it is."""

    def turned(self) -> None:
        """The resync loop has come round, whatever it found."""
        self._turned = self._clock()

    def ill(self) -> str | None:
        """Why the process should be restarted, None while it should not."""
        if self._clock() - self._turned > self._patience:
            return "the resync loop stands still"
        return None if self.silent is None else f"the watch of {self.silent} is silent"


async def serve(*, health: Health, metrics: Metrics, port: int = PORT) -> web.AppRunner:
    """Start the server; `cleanup()` of what is returned stops it."""

    async def live(_: web.Request) -> web.Response:
        return _answer(health.ill())

    async def ready(_: web.Request) -> web.Response:
        return _answer(health.missing)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", scrape)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


def _answer(trouble: str | None) -> web.Response:
    return web.Response(text="ok\n") if trouble is None else web.Response(status=503, text=f"{trouble}\n")
