"""Programs of a task's own on the real cluster: a shell script loses its pod and goes on from its folder."""

from __future__ import annotations

import pytest
import yaml

from tests.cluster.paths import ROOT
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.tasks import Task

STEPS, HALF_WAY = 6, 3
COUNT = f"""
if cat /proc/1/environ > /dev/null 2>&1; then echo open; else echo closed; fi > sight
n=$(cat n 2> /dev/null || echo 0)
while [ "$n" -lt {STEPS} ]; do
  n=$((n + 1))
  (cat trail 2> /dev/null || true; echo "$n:$AGENTTASK_ATTEMPT") > trail.new; mv trail.new trail
  echo "$n" > n.new; mv n.new n
  agenttask progress "$n" {STEPS} "$AGENTTASK_PROMPT $n"
  agenttask checkpoint
  if [ "$n" = {HALF_WAY} ] && [ "$AGENTTASK_ATTEMPT" = 1 ]; then echo kept > unasked; sleep 600; fi
done
cat sight trail > "$AGENTTASK_RESULT"
if [ -e unasked ]; then cat unasked; else echo lost; fi >> "$AGENTTASK_RESULT"
"""


def create(api: Api, namespace: str, name: str, *, command: list[str], **spec: object) -> Task:
    body: Object = {
        "apiVersion": "agenttask.dev/v1alpha1",
        "kind": "AgentTask",
        "metadata": {"name": name},
        "spec": {"command": command, **spec},
    }
    return Task.create(api=api, namespace=namespace, body=body)


@pytest.mark.parametrize("grace_seconds", [None, 0], ids=["with its grace", "at once"])
def test_a_shell_program_whose_pod_is_deleted_goes_on_from_its_folder_and_completes(
    home: str, api: Api, grace_seconds: int | None
) -> None:
    task = create(api, home, "counts", command=["sh", "-euc", COUNT], prompt="counting")
    shown = {"step": HALF_WAY, "maxSteps": STEPS, "display": f"{HALF_WAY}/{STEPS}", "message": f"counting {HALF_WAY}"}
    task.wait(what="shows how far it is", progress=shown)
    api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=home, grace_seconds=grace_seconds)
    status = task.wait_finished()

    assert (status["phase"], status["reason"], status["attempt"]) == ("Completed", "Completed", 2)
    sight, *trail, unasked = status["result"]["answer"].split()
    assert sight == "closed", "the runner's environment, with the store's keys, is not for the program to see"
    steps, attempts = zip(*(map(int, each.split(":")) for each in trail), strict=True)
    assert list(steps) == list(range(1, STEPS + 1)), "none is lost and none is there twice"
    assert list(attempts) == [1] * HALF_WAY + [2] * (STEPS - HALF_WAY)
    assert unasked == "kept" or grace_seconds == 0, "SIGTERM stores what no checkpoint has"
    assert status["attempts"][0]["outcome"] == "Disrupted"
    assert status["attempts"][1]["resumedFrom"]
    assert status["counts"]["failures"] == 0
    assert (status["progress"]["display"], status["checkpoint"]["step"]) == (f"{STEPS}/{STEPS}", STEPS)


def test_programs_that_cannot_do_it_say_why_and_do_not_loop(home: str, api: Api) -> None:
    missing = create(api, home, "missing", command=["no-such-program"])
    fails = create(
        api, home, "fails", command=["sh", "-c", "echo the disk is on fire >&2; exit 3"], retry={"maxFailures": 1}
    )
    memory = {"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    large = create(
        api,
        home,
        "large",
        command=["sh", "-c", "head -c 3000000 /dev/zero > large"],
        retry={"maxFailures": 0},
        pod={"volumes": [memory], "volumeMounts": [{"name": "small", "mountPath": "/var/lib/agenttask/program"}]},
    )

    status = missing.wait_stalled("SpecInvalid")
    assert "there is no program no-such-program" in status["message"]
    status = fails.wait_finished()
    assert (status["phase"], status["reason"], status["counts"]["failures"]) == ("Failed", "RetriesExhausted", 2)
    assert status["attempts"][1]["reason"] == "Crashed"
    assert "Exit code 3" in status["attempts"][1]["message"]
    assert "the disk is on fire" in status["attempts"][1]["message"]
    status = large.wait_finished()
    assert (status["phase"], status["reason"]) == ("Failed", "RetriesExhausted")
    assert "No space left on device" in status["attempts"][0]["message"]
    assert missing.status()["attempt"] <= 6, "it is tried again more and more seldom"


def test_the_example_runs_as_it_stands(home: str, api: Api) -> None:
    config_map, task = yaml.safe_load_all((ROOT / "examples/program.yaml").read_text())
    config_map["data"]["primes.py"] = config_map["data"]["primes.py"].replace("200_000", "20_000")
    api.apply(Kind.CONFIG_MAP, config_map, namespace=home)
    status = Task.create(api=api, namespace=home, body=task).wait_finished()
    assert status["result"]["answer"].startswith("2262 primes below 20000")
