"""A conversation that outgrows its model, against aimock: processes killed between a summary and the call after it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.api.runner.conftest import MakeJob
from tests.api.runner.local_process import Place
from tests.e2e.harness.model import ScriptedModel

TURNS = 300
LIMIT_TOKENS = 6000
RESULT_BYTES = 1000


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    """One for these tests alone: its journal gets long, and whoever asks reads all of it."""
    model = ScriptedModel(address="127.0.0.1")
    yield model
    model.close()


def test_a_context_limit_run_of_300_turns_that_compacts_is_killed_between_compaction_and_the_next_call_and_goes_on(
    make_job: MakeJob,
) -> None:
    job = make_job()
    job.model.script_count(job.name, tool="number", up_to=TURNS - 1, limit_tokens=LIMIT_TOKENS)
    tool = {
        "name": "number",
        "recovery": "Idempotent",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "http": {"url": job.tools.url(task=job.name, answer_bytes=RESULT_BYTES)},
    }
    task = job.manifest(prompt="Count.", tools=[tool])
    task["spec"]["budget"] = {"steps": 2 * TURNS}
    job.file.write_text(json.dumps(task))

    kills = 0
    while (code := job.run(dies=Place("summary", 1))) == -signal.SIGKILL:
        kills += 1

    assert code == 0, job.lines
    assert job.answer == f"It is {TURNS - 1}."
    assert kills >= 2
    assert [use.n for use in job.tools.uses(task=job.name)] == list(range(1, TURNS)), "no step was lost, none repeated"
    asked = job.model.journal(job.name)
    answered = [call for call in asked if call.status == 200]
    summaries = [call for call in answered if not call.offers_tools]
    assert len(summaries) == kills, "each was asked for and paid once, whoever was killed behind it"
    assert len(answered) == TURNS + len(summaries)
    assert len(asked) > len(answered), "the endpoint's limit was met"
