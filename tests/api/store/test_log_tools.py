"""`agenttask log` on real stores, by their addresses, with the keys of the environment."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A finished run of two attempts and eleven records on a real store."""

    address: str
    """Of the store, up to where all logs of this test lie."""
    log: str
    """Prefix of the log, behind that address."""
    capsys: pytest.CaptureFixture[str]

    def run(self, verb: str, *more: str, at: str | None = None) -> tuple[int, Any]:
        """A command on the run's own address, or on another; its exit code, and its answer in JSON."""
        code = main(["log", verb, at or f"{self.address}/{self.log}", "-o", "json", *more])
        said = self.capsys.readouterr().out
        return code, json.loads(said) if said else None

    def delete(self, seq: int) -> None:
        """Remove a record behind everybody's back."""

        async def delete() -> None:
            store = _opened(self.address)
            location = location_of(self.address, environment=os.environ)
            above = f"{location.prefix}/" if location.prefix else ""
            await store.delete(f"{above}{self.log}/log/{seq:012d}")
            await store.close()

        asyncio.run(delete())


def _opened(address: str) -> Store:
    return open_store(location_of(address, environment=os.environ))


@pytest.fixture(params=["filesystem", "versitygw", "moto", *REDISES])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kept:
    """On each kind of store in turn."""
    if request.param == "filesystem":
        address = str(request.getfixturevalue("tmp_path") / "store")
    else:
        server = request.getfixturevalue(request.param)
        if isinstance(server, Server):
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
            monkeypatch.setenv("AWS_REGION", server.region)
            address = f"s3://{server.bucket}"
        else:
            assert isinstance(server, servers.RedisProcess)
            address = server.url
    attempts = Attempts(uid=secrets.token_hex(8))

    async def write() -> None:
        await killed_at_model_call(2, attempts=attempts, attempt=1, store=_opened(address))
        await attempts.run(2, store=_opened(address))

    asyncio.run(write())
    log = log_prefix(prefix="p", namespace="ns", name="task", uid=attempts.uid)
    return Kept(address=address, log=log, capsys=capsys)


def test_ls_show_verify_restore_result_and_prune_on_every_store(kept: Kept) -> None:
    code, listed = kept.run("ls", at=f"{kept.address}/p")
    (mine,) = (one for one in listed["runs"] if one["address"] == f"{kept.address}/{kept.log}")
    assert (code, mine["records"], mine["newest"]["kind"]) == (0, 11, "final")

    code, listed = kept.run("ls")
    assert (code, [one["attempt"] for one in listed["records"]]) == (0, [1] * 4 + [2] * 7)
    code, shown = kept.run("show")
    assert (code, [entry["type"] for entry in shown["entries"]].count("attemptBegan")) == (0, 2)
    code, verified = kept.run("verify")
    assert (code, verified["problems"], verified["restorable"]["seq"]) == (0, [], 11)
    code, restored = kept.run("restore", "--at", "6")
    assert (code, restored["checkpoint"]["id"]) == (0, listed["records"][5]["id"])
    code, result = kept.run("result")
    assert (code, result["answer"]) == (0, "The sum is 3.")
    code, pruned = kept.run("prune", "--yes")
    assert (code, pruned["objects"], pruned["over"]) == (0, [], True)

    kept.delete(6)
    code, verified = kept.run("verify")
    assert (code, verified["restorable"]["seq"]) == (1, 5)
    assert any("000000000006 is missing" in problem for problem in verified["problems"])
    assert kept.run("result") == (1, None)


def test_of_an_s3_server_that_refuses_or_has_no_such_bucket_the_tools_say_so_and_exit_78(
    versitygw: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", versitygw.endpoint)
    monkeypatch.setenv("AWS_REGION", versitygw.region)
    assert main(["log", "ls", "s3://no-such-bucket/p"]) == 78
    assert "no-such-bucket" in capsys.readouterr().err
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert main(["log", "verify", f"s3://{versitygw.bucket}/p"]) == 78
    captured = capsys.readouterr()
    assert "check the keys" in captured.err
    assert captured.out == ""
