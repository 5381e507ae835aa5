"""The commands on logs in memory: what they say, and with which exit code."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from agenttask.cli import main
from agenttask.contract import Budget
from agenttask.contract import Checkpoint as Kept
from agenttask.errors import CheckpointCorrupt, CheckpointLost, NotFound
from agenttask.log import Kind
from agenttask.log.record import build, parse
from agenttask.logtool import options
from agenttask.logtool.desk import UsageError
from agenttask.logtool.main import run as run_tool
from agenttask.logtool.place import Checkpoint, Known, of_address
from agenttask.logtool.runs import logs_below
from agenttask.store.faults import Call, Fault
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import PREFIX, Attempts
from tests.unit.log.ledger import PREFIX as LEDGER
from tests.unit.log.ledger import claim
from tests.unit.log.test_log_survey import finished
from tests.unit.logtool.desks import Looker, killed_at_model_call, two_attempts

ELSEWHERE = PREFIX.replace("/uid", "/uid-2")


def key(seq: int) -> str:
    return f"{PREFIX}/log/{seq:012d}"


@pytest.fixture
async def run() -> Looker:
    """A run of two attempts and eleven records that is over."""
    return Looker(objects=(await two_attempts()).objects)


@pytest.fixture
async def open_run() -> Looker:
    """A run whose only attempt died at its third model call, behind record 6."""
    attempts = Attempts()
    await killed_at_model_call(3, attempts=attempts, attempt=1)
    return Looker(objects=attempts.objects)


def break_record(run: Looker, seq: int) -> None:
    run.objects[key(seq)] = run.objects[key(seq)][:-1] + b"?"


async def test_ls_of_a_place_lists_the_runs_below_it(run: Looker, open_run: Looker) -> None:
    run.objects |= {name.replace(PREFIX, ELSEWHERE): body for name, body in open_run.objects.items()}
    run.path = "p"
    assert await run.run("ls", output="table") == 0
    rows = [line.split() for line in run.said.splitlines()]
    assert rows[0] == ["RUN", "RECORDS", "ATTEMPT", "STEP", "STATE", "SIZE", "AGE"]
    assert [row[:5] for row in rows[1:]] == [
        ["ns/task/uid", "11", "2", "4/50", "over"],
        ["ns/task/uid-2", "6", "1", "2/50", "open"],
    ]
    shown = await run.json("ls")
    assert [(one["address"], one["newest"]["task"]) for one in shown["runs"]] == [
        (f"s3://bucket/{PREFIX}", "ns/task"),
        (f"s3://bucket/{ELSEWHERE}", "ns/task"),
    ]
    break_record(run, 11)
    assert [one["newest"].get("problem", "")[-12:] for one in (await run.json("ls"))["runs"]] == ["their digest", ""]


async def test_ls_finds_logs_whatever_namespaces_and_prefixes_are_called(run: Looker) -> None:
    odd = {"log/log/log/blob": "uid", "a/b/c/snapshot/log": "uid"}
    run.objects |= {name.replace("p/ns/task", path): body for path in odd for name, body in list(run.objects.items())}
    run.objects |= {"someone/log/else": b"?", "x": b"?"}
    run.path = ""
    shown = await run.json("ls")
    assert [one["log"] for one in shown["runs"]] == ["a/b/c/snapshot/log/uid", "log/log/log/blob/uid", PREFIX]


async def test_ls_of_a_place_without_runs_is_empty() -> None:
    assert await Looker(objects={}, path="p").json("ls") == {"runs": []}


async def test_ls_of_a_task_whose_first_attempt_has_not_claimed_says_so() -> None:
    with pytest.raises(NotFound, match="no log at"):
        await Looker(objects={}, task=Known(keep_last=3, checkpoint=None)).run("ls", output="table")


async def test_ls_of_a_run_shows_each_checkpoint_as_the_article_does(run: Looker) -> None:
    assert await run.run("ls", output="table") == 0
    rows = [line.split() for line in run.said.splitlines()]
    assert rows[0] == ["SEQ", "ATTEMPT", "STEP", "KIND", "SIZE", "AGE"]
    assert [row[:4] for row in rows[4:7]] == [
        ["4", "1", "1/50", "events"],
        ["5", "2", "1/50", "claim"],
        ["6", "2", "2/50", "events"],
    ]
    await run.run("ls", output="wide")
    assert run.said.splitlines()[0].split()[6:] == ["ID", "TIME", "PARENT", "RETRY", "DIGEST", "NOTE"]
    shown = (await run.json("ls"))["records"][5]
    before = (await run.json("ls"))["records"][4]
    assert shown["parentID"] == before["id"] == f"5-{before['digest'][:12]}"
    assert {name: shown[name] for name in ("key", "task", "time", "step", "maxSteps", "retry")} == {
        "key": key(6),
        "task": "ns/task",
        "time": "2026-01-01T00:00:50.000Z",
        "step": 2,
        "maxSteps": 50,
        "retry": 0,
    }


async def test_a_claim_shows_the_budget_of_its_attempt_before_there_is_a_step(run: Looker) -> None:
    records = (await run.json("ls"))["records"]
    assert (records[0]["kind"], records[0]["step"], records[0]["maxSteps"]) == ("claim", 0, 50)


async def test_ls_of_a_run_names_a_damaged_record_and_exits_1(run: Looker) -> None:
    break_record(run, 4)
    assert await run.run("ls", output="wide") == 1
    assert f"record {key(4)} is damaged" in run.said
    assert (await run.json("ls"))["records"][3]["problem"].startswith(f"record {key(4)} is damaged")


async def test_show_prints_the_conversation_with_attempt_boundaries(run: Looker) -> None:
    assert await run.run("show") == 0
    headings = [line.split(" (")[0] for line in run.said.splitlines() if not line.startswith(" ")]
    assert headings == [
        "=== attempt 1 began",
        "system",
        "user",
        "step 1",
        "result 3.0 echo",
        "=== attempt 2 began",
        "step 2",
        "result 6.0 echo",
        "step 3",
        "result 8.0 echo",
        "step 4",
        "=== the run is over: Completed, Completed",
    ]
    types = [entry["type"] for entry in (await run.json("show"))["entries"]]
    assert types[:5] == ["attemptBegan", "configured", "message", "reply", "result"]


async def test_show_at_a_record_ends_there(run: Looker) -> None:
    assert [entry["type"] for entry in (await run.json("show", at=3))["entries"]][-1] == "reply"


async def test_what_a_broken_log_cannot_give_is_said_beside_what_it_can_and_the_exit_code_is_1(run: Looker) -> None:
    break_record(run, 6)
    for verb in ("show", "restore", "result"):
        assert await run.run(verb, output="json") == 1
        assert run.warned.startswith(f"records 6 to 11 are not in it: record {key(6)} is damaged"), verb
    assert (await run.json("restore"))["checkpoint"]["seq"] == 5


async def test_verify_of_a_whole_log_finds_nothing(run: Looker) -> None:
    assert await run.run("verify") == 0
    assert run.said.startswith("11 records, no snapshots, no blobs, ")
    assert run.said.endswith(": no problems; the newest state is that after record 11, step 4/50\n")
    shown = await run.json("verify")
    assert (shown["problems"], shown["restorable"]["seq"]) == ([], 11)


def status_says(run: Looker, *, seq: int, digest: str) -> Looker:
    run.task = Known(keep_last=3, checkpoint=Checkpoint(key=key(seq), seq=seq, digest=digest))
    return run


def cut_off(run: Looker) -> Looker:
    digest = parse(key=key(11), seq=11, body=run.objects.pop(key(11))).digest
    return status_says(run, seq=11, digest=digest)


def end_unknown(run: Looker) -> Looker:
    last = parse(key=key(10), seq=10, body=run.objects[key(10)])
    draft = build(
        key=key(11),
        seq=11,
        parent=last,
        kind=Kind.EVENTS,
        attempt=last.attempt,
        holder=last.holder,
        now=datetime.now(UTC),
        step=4,
        max_steps=50,
        retry=0,
        events=[{"type": "fromTheFuture"}],
    )
    run.objects[key(11)] = draft.body
    return run


WRONG: dict[str, tuple[Callable[[Looker], object], str]] = {
    "a damaged record": (lambda run: break_record(run, 4), f"record {key(4)} is damaged"),
    "a missing record": (lambda run: run.objects.pop(key(4)), f"record {key(4)} is missing"),
    "an event nobody knows": (
        end_unknown,
        "an event this version does not know",
    ),
    "an end that is missing, which status alone can know": (
        cut_off,
        f"record {key(11)} is missing: the task's status names it, and the log ends with record 10",
    ),
    "another log in this one's place, which status alone can know": (
        lambda run: status_says(run, seq=10, digest="another"),
        f"record {key(10)} is another one than the task's status names",
    ),
    "nothing left": (lambda run: break_record(run, 2), "there is no state before it"),
}


@pytest.mark.parametrize(("harm", "words"), WRONG.values(), ids=WRONG.keys())
async def test_verify_says_what_is_wrong_where_and_exits_1(
    run: Looker, harm: Callable[[Looker], object], words: str
) -> None:
    harm(run)
    assert await run.run("verify") == 1
    assert words in run.said
    assert any(words in problem for problem in (await run.json("verify"))["problems"])


async def test_restore_writes_the_state_at_any_record_as_json(run: Looker) -> None:
    shown = await run.json("restore", at=4)
    assert (shown["checkpoint"]["seq"], shown["checkpoint"]["key"]) == (4, key(4))
    state = shown["state"]
    assert [message["role"] for message in state["conversation"]] == ["user", "assistant", "tool"]
    assert (state["step"], state["promptTokens"], state["systemPrompt"]) == (1, 100, "Be exact.")
    assert state["attempts"] == [{"attempt": 1, "modelCalls": 1, "repeatedModelCalls": 0}]
    assert (await run.json("restore", at=3))["state"]["calls"][0]["providerId"] == "call_0"
    with pytest.raises(CheckpointLost, match="after record 12 cannot be had; those after records 1 to 11 can"):
        await run.run("restore", at=12)


async def test_a_long_run_is_told_whole_though_most_of_its_records_are_gone() -> None:
    attempts = Attempts(budget=Budget(steps=1000), checkpoint=Kept(keep_last=1))
    attempts.world.turns = 120
    await killed_at_model_call(60, attempts=attempts, attempt=1)
    await attempts.run(2)
    run = Looker(objects=attempts.objects)
    assert await run.run("verify") == 0
    headings = [line.split(" (")[0] for line in (await said(run, "show")) if not line.startswith(" ")]
    assert [heading for heading in headings if heading.startswith("step")] == [f"step {n}" for n in range(1, 121)]
    second = headings.index("=== attempt 2 began")
    assert headings[second + 1] == "step 60"
    assert headings[second - 2] == "step 59"
    with pytest.raises(CheckpointLost, match=r"after record 5 cannot be had; those after records \d+ to \d+ can"):
        await run.run("restore", at=5)


async def said(run: Looker, verb: str) -> list[str]:
    await run.run(verb)
    return run.said.splitlines()


async def test_result_prints_the_whole_answer_of_a_run_that_is_over(run: Looker, open_run: Looker) -> None:
    assert await run.run("result") == 0
    assert (run.said, run.warned) == ("The sum is 3.\n", "")
    assert await run.json("result") == {
        "log": PREFIX,
        "outcome": "Completed",
        "reason": "Completed",
        "message": "answered after 4 steps",
        "answer": "The sum is 3.",
        "key": key(11),
    }
    assert await open_run.run("result") == 1
    assert (open_run.said, open_run.warned) == ("", "the run is not over: it is at step 2/50\n")


async def test_result_of_a_run_that_failed_says_why_and_exits_1() -> None:
    attempts = Attempts()

    async def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"error": {"message": "no such parameter"}})

    attempts.world.before_model = refuse
    await attempts.run(1)
    run = Looker(objects=attempts.objects)
    assert await run.run("result") == 1
    assert run.warned.startswith("Failed, ModelRefused: ")


async def whole(run: Looker) -> bool:
    """Whether a log of texts, which no agent wrote, has nothing wrong with it but that."""
    (problem,) = (await run.json("verify"))["problems"]
    return "an event this version does not know" in problem


async def test_prune_names_what_would_go_and_touches_nothing_until_it_is_told_to() -> None:
    run = Looker(objects=(await finished()).objects, path=LEDGER)
    before = dict(run.objects)
    assert await run.run("prune", keep_last=1) == 0
    assert run.objects == before
    named = [line.split("   ")[0] for line in run.said.splitlines()[:-1]]
    assert len(named) > 5
    assert run.said.splitlines()[-1].startswith(f"{len(named)} objects, ")
    shown = await run.json("prune", keep_last=1, yes=True)
    assert [one["key"] for one in shown["objects"]] == named
    assert shown["sizeBytes"] == sum(len(before[name]) for name in named)
    assert set(before) - set(run.objects) == set(named)
    assert await whole(run)
    assert (await run.json("prune", keep_last=1))["objects"] == []


async def test_prune_touches_no_blob_of_a_run_that_is_not_over() -> None:
    store = MemoryStore()
    ledger = await claim(store, keep=3)
    for number in range(24):
        await ledger.write(str(number))
    store.objects[f"{LEDGER}/blob/1-p-9"] = b"of a writer that is about to name it"
    run = Looker(objects=store.objects, path=LEDGER)
    await run.run("prune", keep_last=1, yes=True)
    assert "since the run is not over" in run.said
    assert f"{LEDGER}/blob/1-p-9" in run.objects
    assert await whole(run)


async def test_prune_keeps_as_many_snapshots_as_the_task_says_and_3_by_itself() -> None:
    run = Looker(objects=(await finished()).objects, path=LEDGER)
    left = {}
    for task in (None, Known(keep_last=2, checkpoint=None)):
        run.task = task
        await run.run("prune", yes=True)
        left[task and task.keep_last] = sum("/snapshot/" in name for name in run.objects)
    assert left == {None: 3, 2: 2}


async def test_nothing_of_a_damaged_log_is_pruned(run: Looker) -> None:
    break_record(run, 4)
    with pytest.raises(CheckpointCorrupt, match="nothing of a damaged log is pruned"):
        await run.run("prune", yes=True)
    assert f"record {key(4)} is damaged" in run.warned


@pytest.mark.parametrize("verb", ["show", "verify", "restore", "result", "prune"])
async def test_a_place_with_one_run_stands_for_it_and_with_several_for_none(run: Looker, verb: str) -> None:
    run.path = "p"
    assert await run.run(verb) == 0
    run.objects |= {name.replace(PREFIX, ELSEWHERE): body for name, body in list(run.objects.items())}
    with pytest.raises(UsageError) as several:
        await run.run(verb)
    assert f"s3://bucket/{PREFIX}\n  s3://bucket/{ELSEWHERE}" in str(several.value)
    run.path = "nowhere"
    with pytest.raises(NotFound, match="s3://bucket/nowhere"):
        await run.run(verb)


async def test_the_runs_below_a_place_are_listed_once_each(run: Looker) -> None:
    run.path = "p"
    run.objects |= {name.replace(PREFIX, ELSEWHERE): body for name, body in list(run.objects.items())}
    listed: list[str] = []

    async def count(call: Call) -> Fault:
        if call.operation == "list":
            listed.append(call.key)
        return Fault.NONE

    run.before = count
    assert await run.run("ls") == 0
    assert len(run.said.splitlines()) == 3
    assert sorted(listed) == sorted(set(listed))


EXITS = {
    "no verb": ([], 2),
    "an unknown verb": (["list", "."], 2),
    "a record number that is none": (["show", ".", "--at", "0"], 2),
    "an output that the verb does not have": (["restore", ".", "-o", "text"], 2),
    "a context without a namespace": (["ls", ".", "--context", "c"], 2),
    "a store that is none": (["ls", "gopher://x"], 78),
    "a folder that is not there": (["ls", "/nowhere/at/all"], 78),
    "an endpoint for a folder": (["ls", ".", "--endpoint", "http://x"], 78),
    "a place without a log": (["show", "{tmp}"], 78),
    "a place without runs": (["ls", "{tmp}"], 0),
}


@pytest.mark.parametrize(("words", "code"), EXITS.values(), ids=EXITS.keys())
def test_exit_codes_for_scripts(tmp_path: Path, words: list[str], code: int) -> None:
    try:
        got = main(["log", *(word.replace("{tmp}", str(tmp_path)) for word in words)])
    except SystemExit as error:
        got = int(error.code or 0)
    assert got == code


def test_a_record_number_that_is_none_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("0", "x", "-1", "1.5"):
        with pytest.raises(SystemExit, match="2"):
            main(["log", "show", ".", f"--at={text}"])
        assert f"argument --at: {text} is no number above 0" in capsys.readouterr().err


async def test_a_folder_can_be_the_place_or_the_run_itself(tmp_path: Path, run: Looker) -> None:
    for name, body in run.objects.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    for address in (str(tmp_path), f"file://{tmp_path}/p/ns", f"{tmp_path}/p/../{PREFIX}"):
        place = of_address(address, environment={})
        assert place.address(place.path) == str((tmp_path / address.removeprefix("file://")).resolve())
        store = place.open()
        found = await logs_below(place.path, store=store)
        assert [place.address(log) for log in found] == [str(tmp_path / PREFIX)]


def test_a_counter_of_what_has_been_done_is_no_part_of_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", "ls", str(tmp_path), "-o", "json"]) == 0
    captured = capsys.readouterr()
    assert (json.loads(captured.out), captured.err) == ({"runs": []}, "")


def test_a_cluster_that_does_not_answer_exits_69(capsys: pytest.CaptureFixture[str]) -> None:
    def silent(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "Unable to connect to the server: no route to host")

    parser = argparse.ArgumentParser()
    options.add(parser.add_subparsers())
    assert run_tool(parser.parse_args(["log", "ls", "-n", "ns", "task"]), environment={}, kubectl=silent) == 69
    said = capsys.readouterr().err
    assert "no route to host" in said
    assert "port-forward" in said
