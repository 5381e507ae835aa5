"""A recording proxy: no host outside the manifest is ever contacted, keys go to their endpoints only, nobody tells one.

The runner is a process of its own whose every request goes through the proxy, to servers whose names exist there alone.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from agenttask.clock import SystemClock
from agenttask.contract import Exit, Location
from agenttask.log import Patience, read
from agenttask.store import open_store

from tests.api import forked
from tests.api.runner.local_process import LocalProcess
from tests.api.runner.recording_proxy import RecordingProxy
from tests.e2e.harness.model import Fault, ScriptedModel, calls, refuses, says_sum
from tests.e2e.harness.tools import ToolServer, number_of

KEY = "sk-main-secret"
OTHER_KEY = "sk-other-secret"
ANSWER = f"The sum is {number_of(1)}."


@pytest.fixture
def proxy(model: ScriptedModel, tool_server: ToolServer) -> Iterator[RecordingProxy]:
    model_server = model.base_url.removesuffix("/v1")
    tools = f"http://{urlsplit(tool_server.url(task='t')).netloc}"
    proxy = RecordingProxy(hosts={"first.test": model_server, "third.test": model_server, "tool.test": tools})
    yield proxy
    proxy.close()


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A task with a model, a fallback beside it, and one at an endpoint of its own with another key."""

    first: str
    second: str
    third: str
    folder: Path
    proxy: RecordingProxy

    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "agenttask.dev/v1alpha1",
            "kind": "AgentTask",
            "metadata": {"name": "chain"},
            "spec": {
                "prompt": "Add up.",
                "agent": {
                    "model": {
                        "baseURL": "http://first.test/v1",
                        "name": self.first,
                        "headers": {"x-team": "blue"},
                        "maxRetries": 0,
                        "fallbacks": [
                            {"name": self.second},
                            {"name": self.third, "baseURL": "http://third.test/v1"},
                        ],
                    },
                    "tools": [
                        {"name": "number", "recovery": "Idempotent", "http": {"url": f"http://tool.test/{self.first}/number"}}
                    ],
                },
            },
        }  # fmt: skip

    def run(self) -> int:
        (self.folder / "task.yaml").write_text(json.dumps(self.manifest()))
        local = LocalProcess(
            file=self.folder / "task.yaml",
            store=self.folder / "store",
            answer=self.folder / "answer",
            lines=self.folder / "lines",
            environment={
                "AGENTTASK_MODEL_API_KEY": KEY,
                "AGENTTASK_MODEL_API_KEY_2": OTHER_KEY,
                **self.proxy.environment,
            },
        )
        return forked.end(forked.start(local.run), lines=local.lines)

    async def told(self) -> str:
        """All that anybody can read of the run: its answer, its lines, its records."""
        store = open_store(Location(type="filesystem", path=str(self.folder / "store")))
        found = await read(store=store, prefix="local/chain/local", clock=SystemClock(), patience=Patience())
        await store.close()
        texts = [(self.folder / name).read_text() for name in ("answer", "lines")]
        return "\n".join([*texts, *(msgspec.json.encode(record.events).decode() for record in found.records)])


@pytest.fixture
def chain(tmp_path: Path, proxy: RecordingProxy) -> Chain:
    first, second, third = (f"m-{secrets.token_hex(8)}" for _ in range(3))
    return Chain(first=first, second=second, third=third, folder=tmp_path, proxy=proxy)


def quotes(key: str, *, status: int) -> Fault:
    """An endpoint that tells a key back."""
    return {"response": refuses(status, f"the key {key} is out of luck")}


async def test_no_host_outside_the_manifest_is_contacted_and_keys_go_to_their_endpoints_only(
    chain: Chain, model: ScriptedModel
) -> None:
    for name, key in ((chain.first, KEY), (chain.second, KEY)):
        model.script(name, [], faults=dict.fromkeys(range(9), quotes(key, status=503)))
    model.script(chain.third, [calls(("number", {"n": 1})), says_sum()])
    assert chain.run() == Exit.FINAL, (chain.folder / "lines").read_text()
    assert (chain.folder / "answer").read_text().strip() == ANSWER
    passed = [(one.host, one.headers.get("authorization"), one.headers.get("x-team")) for one in chain.proxy.passed]
    assert passed == [
        ("first.test", f"Bearer {KEY}", "blue"),
        ("first.test", f"Bearer {KEY}", "blue"),
        ("third.test", f"Bearer {OTHER_KEY}", None),
        ("tool.test", None, None),
        ("third.test", f"Bearer {OTHER_KEY}", None),
    ]


async def test_no_key_appears_in_any_log_record_or_error(chain: Chain, model: ScriptedModel) -> None:
    for name, key in ((chain.first, KEY), (chain.second, KEY), (chain.third, OTHER_KEY)):
        model.script(name, [], faults=dict.fromkeys(range(9), quotes(key, status=503)))
    assert chain.run() == Exit.STALLED
    told = await chain.told()
    assert "the key *** is out of luck" in told
    assert KEY not in told
    assert OTHER_KEY not in told
