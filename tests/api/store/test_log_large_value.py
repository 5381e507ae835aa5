"""A tool result of 200 MB does not cost 400 MB of memory, neither when it is written nor when a run goes on with it.

Content attached to a record costs none for its size.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from agenttask.contract import Location
from agenttask.store import open_store

from tests.api.store.conftest import Server
from tests.api.store.servers import RedisProcess

MEGABYTES = 200
BOUND_MEGABYTES = 400


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What the process said of itself."""

    digest: str
    before: int
    peak: int


def run(what: str, where: Location, *, module: str = "large_value", megabytes: int = MEGABYTES) -> Seen:
    words = [sys.executable, "-m", f"tests.api.store.{module}", what, msgspec.json.encode(where).decode()]
    done = subprocess.run([*words, str(megabytes)], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return Seen(**json.loads(done.stdout))


@pytest.fixture(params=["versitygw", "valkey", "filesystem"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A place in each kind of store."""
    prefix = secrets.token_hex(8)
    if request.param == "filesystem":
        return Location(type="filesystem", path=str(tmp_path / "store"), prefix=prefix)
    server = request.getfixturevalue(request.param)
    if isinstance(server, Server):
        return server.location(prefix=prefix)
    assert isinstance(server, RedisProcess)
    return Location(type="redis", endpoint=server.url, prefix=prefix)


async def forget(where: Location) -> None:
    """Servers live as long as the session, and pytest keeps its folders."""
    store = open_store(where)
    for entry in await store.list(f"{where.prefix}/ns/task/uid/blob/", after=None):
        await store.delete(entry.key)
    await store.close()


async def test_a_tool_result_of_200_mb_costs_less_than_400_mb_of_memory(where: Location) -> None:
    try:
        written, resumed = run("write", where), run("resume", where)
    finally:
        await forget(where)
    assert resumed.digest == written.digest
    assert written.peak > MEGABYTES, "it was there"
    assert max(written.peak, resumed.peak) < BOUND_MEGABYTES, f"{written} {resumed}"


async def test_attached_content_of_200_mb_is_never_in_memory(where: Location) -> None:
    try:
        written, read = run("attach", where), run("read", where)
    finally:
        await forget(where)
    assert read.digest == written.digest
    assert max(written.peak - written.before, read.peak - read.before) < MEGABYTES / 2, f"{written} {read}"
