"""The form of an answer: what the model is told, what is taken for an answer, and what is sent back to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from agenttask.agent.checks import check_answer, check_schemas
from agenttask.agent.events import AnswerRefused, Replied, Started
from agenttask.agent.output import Accepted, Refused, examine, finish_schema, system_prompt
from agenttask.agent.reducer import FINISHED, FINISHED_EARLY, FINISHED_WITHOUT, NOT_FINISHED, fold
from agenttask.agent.turn import MAX_REFUSED_ANSWERS, AskAgain, CallModel, RunCalls, next_action
from agenttask.contract import Agent, Budget, HttpTool, Outcome, Output, Tool
from agenttask.errors import SpecInvalid

from tests.unit.agent.conftest import Attempts, Killed
from tests.unit.agent.replies import replied, tool_call

RIVERS: dict[str, Any] = {
    "type": "object",
    "properties": {"rivers": {"type": "array", "items": {"$ref": "#/$defs/name"}}},
    "required": ["rivers"],
    "$defs": {"name": {"type": "string"}},
}
JSON = Output(format="Json")
SCHEMA = Output(format="Json", schema=RIVERS)
TAG = Output(format="XmlTag", tag="answer")
TAG_SCHEMA = Output(format="XmlTag", tag="answer", schema=RIVERS)
DEEP = "[" * 200 + "]" * 200


@dataclass(frozen=True, kw_only=True)
class Case:
    output: Output = field(default_factory=Output)
    text: str
    want: str | None = None
    """None: refused."""
    says: str = ""
    called: bool = False


CASES = {
    "any text is taken as it is": Case(text=" Yes. ", want=" Yes. "),
    "JSON may be any value": Case(output=JSON, text=" [1, 2]\n", want="[1, 2]"),
    "JSON keeps the model's own spelling": Case(output=JSON, text='{"b": 1,  "a": 2.50}', want='{"b": 1,  "a": 2.50}'),
    "a code fence around all of it is taken off": Case(output=JSON, text="```json\n{}\n```", want="{}"),
    "words around JSON are refused": Case(output=JSON, text="Here: {}", says="not JSON"),
    "half of JSON is refused": Case(output=JSON, text='{"a": [1,', says="not JSON"),
    "what no decoder would take is refused": Case(output=JSON, text=DEEP, says="nested too deep"),
    "a schema is matched": Case(output=SCHEMA, text='{"rivers": ["Ob"]}', want='{"rivers": ["Ob"]}'),
    "what breaks a schema is refused with the place": Case(
        output=SCHEMA, text='{"rivers": ["Ob", 7]}', says="$.rivers[1]: 7 is not of type 'string'"
    ),
    "what a schema needs is named": Case(output=SCHEMA, text="{}", says="'rivers' is a required property"),
    "a tag's content is the answer": Case(output=TAG, text="Well: <answer>\n42 </answer> Bye.", want="42"),
    "the last of several tags counts": Case(
        output=TAG, text="In <answer> I put <answer>1</answer>, no: <answer>2</answer>", want="2"
    ),
    "a missing tag is refused": Case(output=TAG, text="42", says="no <answer> with a </answer> behind it"),
    "so is one that is not closed": Case(output=TAG, text="</answer><answer>42", says="no <answer>"),
    "a tag may hold JSON": Case(output=TAG_SCHEMA, text='<answer>{"rivers": []}</answer>', want='{"rivers": []}'),
    "which must match": Case(output=TAG_SCHEMA, text="<answer>7</answer>", says="not of type 'object'"),
    "a text that a tool was called with is a JSON string": Case(output=JSON, text="so", want='"so"', called=True),
    "JSON that a tool was called with is itself": Case(output=JSON, text="7", want="7", called=True),
    "and so it is judged": Case(output=SCHEMA, text="so", says="'so' is not of type 'object'", called=True),
}


@pytest.mark.parametrize("sentence", CASES)
def test_what_is_taken_for_an_answer(sentence: str) -> None:
    case = CASES[sentence]
    found = examine(case.text, agent=Agent(output=case.output, finish="Tool" if case.called else "Reply"))
    if case.want is not None:
        assert found == Accepted(answer=case.want)
    else:
        assert isinstance(found, Refused)
        assert case.says in found.why


PROMPTS = {
    "nothing is said of any text": (Agent(system_prompt="Be brief."), "Be brief."),
    "nor where there is nothing to say": (Agent(), None),
    "JSON is to stand alone": (Agent(output=JSON), "nothing else"),
    "a schema is shown": (Agent(output=SCHEMA), '"required":["rivers"]'),
    "a tag is named": (Agent(output=TAG), "between <answer> and </answer>"),
    "the tool that ends the task is named": (Agent(finish="Tool"), "call the tool finish"),
}


@pytest.mark.parametrize("sentence", PROMPTS)
def test_what_the_model_is_told_of_the_answer(sentence: str) -> None:
    agent, want = PROMPTS[sentence]
    told = system_prompt(agent)
    assert told == want if want is None or want == agent.system_prompt else want in (told or "")


WRONG = {
    "who must call tools must have one to end with": Agent(tool_choice="Required"),
    "who may call none cannot end with one": Agent(tool_choice="None", finish="Tool"),
    "the tool finish is taken": Agent(finish="Tool", tools=(Tool(name="finish", command=("date",)),)),
    "a tool's argument has no tag": Agent(finish="Tool", output=TAG),
    "a tag has a name": Agent(output=Output(format="XmlTag")),
    "JSON has no tag": Agent(output=Output(format="Json", tag="answer")),
    "any text matches no schema": Agent(output=Output(schema=RIVERS)),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_what_no_answer_could_satisfy_is_refused(sentence: str) -> None:
    with pytest.raises(SpecInvalid):
        check_answer(WRONG[sentence])


FLAWS: dict[str, tuple[dict[str, Any], str]] = {
    "a type that there is not": ({"type": "objekt"}, "'objekt'"),
    "a reference that leads nowhere": ({"$ref": "#/$defs/none"}, "leads to nothing"),
    "a reference to another host": ({"$ref": "http://192.0.2.1/schema"}, "leads to nothing inside the schema"),
    "a pattern that is none": ({"properties": {"a": {"pattern": "("}}}, "properties.a.pattern"),
}


@pytest.mark.parametrize("sentence", FLAWS)
def test_a_bad_json_schema_is_named(sentence: str) -> None:
    schema, says = FLAWS[sentence]
    with pytest.raises(SpecInvalid, match="the parameters of tool t are no sound JSON Schema") as of_tool:
        check_schemas(Agent(tools=(Tool(name="t", parameters=schema, command=("date",)),)))
    with pytest.raises(SpecInvalid, match=r"output\.schema"):
        check_schemas(Agent(output=Output(format="Json", schema=schema)))
    assert says in str(of_tool.value)


def test_a_good_one_is_not() -> None:
    check_schemas(Agent(output=SCHEMA, tools=(Tool(name="t", parameters=RIVERS, command=("date",)),)))


def calls(*asked: tuple[str, str]) -> Replied:
    """A reply with calls: name and arguments of each."""
    return replied(None, *(tool_call(*each, provider_id=f"c{i}") for i, each in enumerate(asked)))


START = Started(prompt="p", finish=True)


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        ('{"answer": "So."}', "So."),
        ('{"answer": {"b": 1}}', '{"b":1}'),
        ('{"answer": 0}', "0"),
        ('{"answer": false}', "false"),
    ],
)
def test_the_call_of_finish_is_the_answer(arguments: str, want: str) -> None:
    state = fold([(2, START), (3, calls(("finish", arguments)))])
    assert (state.answer, state.calls) == (want, ())
    assert state.conversation[-1] == {"role": "tool", "tool_call_id": "c0", "content": FINISHED}


@pytest.mark.parametrize(
    ("reply", "problems"),
    [
        (calls(("echo", "{}"), ("finish", '{"answer": "So."}')), [None, FINISHED_EARLY]),
        (calls(("finish", "{}")), [FINISHED_WITHOUT]),
        (calls(("finish", '{"answer": ""}')), [FINISHED_WITHOUT]),
        (calls(("finish", '{"answer": nul}')), ["the arguments are not JSON"]),
    ],
)
def test_a_call_of_finish_that_will_not_do_is_told_so(reply: Replied, problems: list[str | None]) -> None:
    state = fold([(2, START), (3, reply)])
    assert state.answer is None
    for call, want in zip(state.calls, problems, strict=True):
        assert call.problem == want if want is None else want in (call.problem or "")
    assert isinstance(next_action(state=state, budget=Budget()), RunCalls)


def test_without_finish_a_tool_of_that_name_is_a_tool() -> None:
    state = fold([(2, Started(prompt="p")), (3, calls(("finish", '{"answer": "So."}')))])
    assert state.answer is None
    assert [call.problem for call in state.calls] == [None]


def test_words_do_not_end_a_run_that_is_to_end_by_a_tool() -> None:
    state = fold([(2, START), (3, replied("I think."))])
    assert state.answer is None
    assert state.conversation[-1] == {"role": "user", "content": NOT_FINISHED}
    assert isinstance(next_action(state=state, budget=Budget()), CallModel)


def test_the_model_is_asked_again_a_few_times_and_not_for_ever() -> None:
    agent = Agent(output=JSON)
    events: list[Any] = [Started(prompt="p"), replied("no")]
    for _ in range(MAX_REFUSED_ANSWERS):
        action = next_action(state=fold(list(enumerate(events, 2))), budget=Budget(), agent=agent)
        assert isinstance(action, AskAgain)
        events += [AnswerRefused(why=action.why), replied("no")]
    state = fold(list(enumerate(events, 2)))
    action = next_action(state=state, budget=Budget(), agent=agent)
    ended = getattr(action, "ended", None)
    assert ended is not None
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "OutputInvalid")
    assert "asked 4 times" in ended.message


def test_the_tool_that_ends_a_task_takes_what_the_answer_is() -> None:
    of_text = finish_schema(Output())["function"]["parameters"]
    assert of_text["properties"]["answer"]["type"] == "string"
    assert "type" not in finish_schema(JSON)["function"]["parameters"]["properties"]["answer"]


def reply_with(message: dict[str, Any], *, finish: str = "stop") -> httpx.Response:
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return httpx.Response(
        200, json={"choices": [{"message": message, "finish_reason": finish}], "usage": usage, "model": "m"}
    )


async def test_an_answer_of_the_wrong_form_is_repaired_in_a_further_turn(attempts: Attempts) -> None:
    attempts.output = SCHEMA
    texts = ["three rivers", '{"rivers": 3}', '```\n{"rivers": ["Ob"]}\n```']

    async def answer(_: httpx.Request) -> httpx.Response:
        return reply_with({"role": "assistant", "content": texts[len(attempts.world.model_calls) - 1]})

    attempts.world.before_model = answer
    ending = await attempts.run(1)
    assert (ending.outcome, ending.answer) == (Outcome.COMPLETED, '{"rivers": ["Ob"]}')
    request = msgspec.json.decode(attempts.world.model_calls[-1])
    assert "RIVERS".lower() in request["messages"][0]["content"]
    assert "Your answer cannot be used: it does not match the schema: $.rivers" in request["messages"][-1]["content"]


@pytest.mark.parametrize("number", [2, 3])
async def test_killed_in_a_repair_turn_the_same_question_is_asked_again(attempts: Attempts, number: int) -> None:
    attempts.output = JSON
    alive = False

    async def answer(_: httpx.Request) -> httpx.Response:
        if len(attempts.world.model_calls) == number and not alive:
            raise Killed
        turn = sum(message["role"] == "assistant" for message in msgspec.json.decode(_.content)["messages"])
        return reply_with({"role": "assistant", "content": "7" if turn == 3 else "seven"})

    attempts.world.before_model = answer
    with pytest.raises(Killed):
        await attempts.run(1)
    alive = True
    ending = await attempts.run(2)
    assert (ending.outcome, ending.answer) == (Outcome.COMPLETED, "7")
    assert attempts.world.repeated_model_calls() == 1
    assert len(attempts.world.model_calls) == 5


async def test_an_answer_that_never_has_the_form_fails_and_is_reported_as_partial(attempts: Attempts) -> None:
    attempts.output = JSON

    async def answer(_: httpx.Request) -> httpx.Response:
        return reply_with({"role": "assistant", "content": "seven"})

    attempts.world.before_model = answer
    ending = await attempts.run(1)
    assert (ending.outcome, ending.reason) == (Outcome.FAILED, "OutputInvalid")
    assert len(attempts.world.model_calls) == 1 + MAX_REFUSED_ANSWERS
    result = attempts.board.reported[-1].result
    assert result is not None
    assert (result.answer, result.partial) == ("seven", True)


async def test_a_run_that_must_call_tools_says_so_and_ends_by_the_tool_finish(attempts: Attempts) -> None:
    attempts.finish, attempts.tool_choice = "Tool", "Required"

    async def work(request: httpx.Request) -> httpx.Response:
        turn = len(attempts.world.model_calls)
        name, arguments = ("echo", f'{{"n": {turn}}}') if turn < 3 else ("finish", '{"answer": "3"}')
        call = {"id": f"c{turn}", "type": "function", "function": {"name": name, "arguments": arguments}}
        return reply_with({"role": "assistant", "content": None, "tool_calls": [call]}, finish="tool_calls")

    attempts.world.before_model = work
    ending = await attempts.run(1)
    assert (ending.outcome, ending.answer) == (Outcome.COMPLETED, "3")
    request = msgspec.json.decode(attempts.world.model_calls[-1])
    assert request["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in request["tools"]] == ["echo", "finish"]
    assert len(attempts.world.tool_calls) == 2


async def test_another_way_to_finish_is_an_event_and_reaches_the_next_request(attempts: Attempts) -> None:
    async def die(request: httpx.Request) -> httpx.Response | None:
        if len(attempts.world.model_calls) == 2:
            raise Killed
        return None

    attempts.world.before_model = die
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.finish = "Tool"
    with pytest.raises(Killed):
        attempts.world.model_calls.clear()
        await attempts.run(2)
    tools = msgspec.json.decode(attempts.world.model_calls[0])["tools"]
    assert [tool["function"]["name"] for tool in tools] == ["echo", "finish"]


async def test_a_tool_with_a_bad_json_schema_stalls_the_task_before_a_model_is_called(attempts: Attempts) -> None:
    attempts.tool = Tool(name="echo", parameters={"type": 7}, http=HttpTool(url="http://tool.test/echo"))
    ending = await attempts.run(1)
    assert (ending.outcome, ending.reason) == (Outcome.STALLED, "SpecInvalid")
    assert "the parameters of tool echo are no sound JSON Schema: type" in ending.message
    assert not attempts.world.model_calls
