"""`agenttask log` on real stores, by their addresses, with the keys of the environment."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agenttask.cli import main
from agenttask.contract import log_prefix
from agenttask.store import Store, open_store
from agenttask.store.address import location_of

from tests.api.store import servers
from tests.api.store.conftest import REDISES, Server
from tests.unit.agent.conftest import Attempts
from tests.unit.logtool.desks import killed_at_model_call

STORES = ["filesystem", "versitygw", "moto", *REDISES]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A finished run of two attempts on a real store; `place` is what lies above all logs of this test."""

    place: str
    log: str
    """Prefix of the log in the store."""
    open: Callable[[], Store]
    read: Callable[[], str]

    def run(self, verb: str, *more: str) -> tuple[int, Any]:
        """A command on the run's own address, with its answer in JSON."""
        code = main(["log", verb, f"{self.place}/{self.log.partition('/')[2]}", "-o", "json", *more])
        text = self.read()
        return code, json.loads(text) if text else None


def address(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a store, and its settings in the environment."""
    if name == "filesystem":
        folder: Path = request.getfixturevalue("tmp_path") / "store"
        return str(folder)
    server = request.getfixturevalue(name)
    if isinstance(server, servers.RedisProcess):
        return server.url
    s3: Server = server
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    monkeypatch.setenv("AWS_REGION", s3.region)
    return f"s3://{s3.bucket}"


@pytest.fixture(params=STORES)
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kept:
    """On each kind of store in turn."""
    above = address(request.param, request, monkeypatch)
    uid = secrets.token_hex(8)
    attempts = Attempts(uid=uid)

    def opened() -> Store:
        return open_store(location_of(above, environment={**_environment(monkeypatch)}))

    async def write() -> None:
        attempts.store = opened
        await killed_at_model_call(2, attempts=attempts, attempt=1)
        await attempts.run(2)

    asyncio.run(write())
    log = log_prefix(prefix="p", namespace="ns", name="task", uid=uid)
    return Kept(place=f"{above}/p", log=log, open=opened, read=lambda: capsys.readouterr().out)


def test_every_tool_works_on_every_store(kept: Kept) -> None:
    assert kept.log
