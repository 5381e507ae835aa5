"""A runner that has too little memory gets more, as far as its task allows, and that is no failure."""

from __future__ import annotations

from tests.e2e.conftest import Start
from tests.e2e.harness.model import says


def test_a_runner_that_is_out_of_memory_gets_twice_as_much_each_time_until_it_is_enough(start: Start) -> None:
    limits = {"resources": {"limits": {"memory": "32Mi"}}}
    task = start("thin", [says("Enough.")], spec={"pod": limits, "retry": {"oomMemoryLimit": "512Mi"}})

    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", "Enough.")
    assert status["counts"]["ooms"] >= 1
    assert status["counts"]["failures"] == 0
    *thin, last = status["attempts"]
    assert {one["reason"] for one in thin} == {"OOMKilled"}
    given = [one.get("memoryLimit") for one in status["attempts"]]
    assert given == [None, "64Mi", "128Mi", "256Mi", "512Mi"][: len(given)]
    (pod,) = task.pods(attempt=last["attempt"])
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == given[-1]
