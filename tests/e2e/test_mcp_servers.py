"""MCP servers of real pods, over both transports: the pod goes, a server goes, and the run goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.environment import Environment
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.mcp import FOLDER, TIME_COMMAND, Everything, time_server
from tests.e2e.harness.model import calls, says
from tests.e2e.harness.wait import until


@pytest.fixture
def everything(environment: Environment) -> Iterator[Everything]:
    server = Everything(address=environment.host_address)
    yield server
    server.close()


def test_real_mcp_servers_over_both_transports_killed_and_restarted_with_the_pod_between_two_calls(
    start: Start, witness: Witnesses, api: Api, home: str, everything: Everything
) -> None:
    config_map, volume = time_server(name="time-server")
    api.create(Kind.CONFIG_MAP, config_map, namespace=home)
    noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    replies = [
        calls(("all_echo", {"message": "before"}), ("time_convert_time", noon)),
        calls(("all_echo", {"message": "after"}), ("time_convert_time", {**noon, "time": "13:00"})),
        says("Done."),
    ]
    servers = [
        {"name": "all", "url": everything.url, "tools": ["echo"]},
        {"name": "time", "command": TIME_COMMAND, "tools": ["convert_time"]},
    ]
    pod = {"volumes": [volume], "volumeMounts": [{"name": "time-server", "mountPath": FOLDER, "readOnly": True}]}
    task = start(
        "clock",
        replies,
        hold_after=1,
        agent={"tools": [], "mcpServers": servers},
        spec={"pod": pod},
    )
    until(
        lambda: witness.model.begun(task.model) >= 2,
        what="the model is asked what follows the first calls",
        seen=task.describe,
    )

    api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=task.namespace, grace_seconds=0)
    everything.restart()
    task.wait_claimed(2)
    witness.model.release(task.model)

    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"]) == ("Completed", "Done.")
    assert status["counts"]["resumes"] == 1
    assert status["counts"]["failures"] == 0
    told = [each["content"] for each in witness.model.journal(task.model)[-1].messages if each["role"] == "tool"]
    wanted = ("Echo: before", "T21:00:00", "Echo: after", "T22:00:00")
    assert len(told) == len(wanted)
    assert all(want in text for want, text in zip(wanted, told, strict=True)), told
    assert sum(witness.model.repeated(task.model).values()) <= 1
