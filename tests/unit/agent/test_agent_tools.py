"""HTTP tools, and what the model is told when a call cannot run. Command tools are tested with real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import httpx
import pytest
from agenttask.agent.result import Caller, ToolResult
from agenttask.agent.state import Call
from agenttask.agent.tools import Toolbox, idempotency_key
from agenttask.contract import RESULT_BYTES, Header, HttpTool, SecretKeyRef, Tool
from agenttask.errors import SpecInvalid

CALLER = Caller(namespace="ns", name="task", uid="uid", attempt=1)


def call(tool: str = "t", arguments: str = '{"a": 1}', *, problem: str | None = None, identity: str = "3.0") -> Call:
    return Call(id=identity, provider_id="x", tool=tool, arguments=arguments, problem=problem)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A tool and arguments, and the request they make."""

    tool: HttpTool
    arguments: str
    url: str
    body: str = ""


REQUESTS = {
    "a POST carries the arguments as they came": Request(
        tool=HttpTool(url="http://tool.test/do?v=2"), arguments='{"b":1, "a":2.50}', url="http://tool.test/do?v=2",
        body='{"b":1, "a":2.50}',
    ),
    "a GET carries them in the query, beside the address's own": Request(
        tool=HttpTool(url="http://tool.test/do?v=2", method="GET"),
        arguments='{"q": "a b&c", "n": 1, "yes": true, "none": null, "list": [1, "x"], "deep": {"k": [1]}}',
        url="http://tool.test/do?v=2&q=a+b%26c&n=1&yes=true&list=1&list=x&deep=%7B%22k%22%3A%5B1%5D%7D",
    ),
    "an argument in the path is in no other place": Request(
        tool=HttpTool(url="http://tool.test/users/{{id}}", method="GET"), arguments='{"id": "a/b", "all": true}',
        url="http://tool.test/users/a%2Fb?all=true",
    ),
    "nor in the body": Request(
        tool=HttpTool(url="http://tool.test/users/{{id}}"), arguments='{"id": "a", "name": "b"}',
        url="http://tool.test/users/a", body='{"name":"b"}',
    ),
    "a body of its own": Request(
        tool=HttpTool(url="http://tool.test/send", body={"to": ["{{to}}"], "text": "Dear {{to}}: {{n}}", "n": "{{n}}"}),
        arguments='{"to": "\\"x", "n": 2.5, "more": 1}', url="http://tool.test/send",
        body='{"to":["\\"x"],"text":"Dear \\"x: 2.5","n":2.5}',
    ),
    "a DELETE too": Request(
        tool=HttpTool(url="http://tool.test/it", method="DELETE"), arguments='{"id": 7}', url="http://tool.test/it?id=7"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REQUESTS.values(), ids=REQUESTS.keys())
async def test_request(case: Request) -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, text="done")

    result = await run(handle, call(arguments=case.arguments), http=case.tool)
    assert result == ToolResult(text="done", ok=True)
    (request,) = seen
    assert (str(request.url), request.content.decode()) == (case.url, case.body)
    assert request.headers["idempotency-key"] == idempotency_key(uid="uid", call=call(arguments=case.arguments))
    assert "authorization" not in request.headers


async def run(
    handle: Callable[[httpx.Request], httpx.Response],
    one: Call,
    *,
    http: HttpTool | None = None,
    environment: dict[str, str] | None = None,
) -> ToolResult:
    tools = [Tool(name="t", recovery="Idempotent", http=http or HttpTool(url="http://tool.test"))]
    if one.tool == "u":
        tools.append(Tool(name="u", http=HttpTool(url="http://tool.test/{{id}}")))
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
        return await Toolbox(tools=tools, caller=CALLER, http=client, inherited=environment or {}).run(one)


def answers(status: int, *, text: str = "") -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, text=text)


def raises(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handle(_: httpx.Request) -> httpx.Response:
        raise error

    return handle


UNKNOWN = "there is no tool named other; the tools are: t"
RESULTS = {
    "a tool the task does not have": (answers(200), call("other"), f"error: {UNKNOWN}"),
    "arguments that were no JSON": (answers(200), call(problem="no JSON"), "error: no JSON"),
    "a status that is no success": (answers(500, text="boom"), call(), "error: HTTP 500\nboom"),
    "a redirect is not followed": (answers(302), call(), "error: HTTP 302"),
    "no connection": (raises(httpx.ConnectError("refused")), call(), "error: ConnectError: refused"),
    "an address that is none": (raises(httpx.UnsupportedProtocol("what")), call(), "error: UnsupportedProtocol: what"),
    "an argument that the address needs": (answers(200), call("u"), "error: the argument id is missing"),
    "an empty success": (answers(204), call(), "HTTP 204, no body"),
}


@pytest.mark.parametrize(("handle", "one", "want"), RESULTS.values(), ids=RESULTS.keys())
async def test_result(handle: Callable[[httpx.Request], httpx.Response], one: Call, want: str) -> None:
    assert await run(handle, one) == ToolResult(text=want, ok=not want.startswith("error"))


async def test_a_head_s_result_is_its_headers() -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-length": "12", "etag": "x"})

    result = await run(handle, call(), http=HttpTool(url="http://tool.test", method="HEAD"))
    assert result == ToolResult(text="content-length: 12\netag: x", ok=True)


async def test_a_long_result_is_cut_and_says_so() -> None:
    result = await run(answers(200, text="x" * (RESULT_BYTES + 5)), call())
    assert result.text == "x" * RESULT_BYTES + f"\n[cut: the first {RESULT_BYTES} bytes]"


async def test_a_tool_that_takes_too_long_is_an_error_for_the_model() -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    tool = Tool(name="t", recovery="Idempotent", http=HttpTool(url="http://tool.test"), timeout_seconds=0)
    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
        result = await Toolbox(tools=[tool], caller=CALLER, http=client, inherited={}).run(call())
    assert result == ToolResult(text="error: no result within 0 s", ok=False)


def test_the_idempotency_key_is_the_call_s_own() -> None:
    key = idempotency_key(uid="uid", call=call(arguments='{"a": 1, "b": 2}'))
    assert key == idempotency_key(uid="uid", call=call(arguments='{"b":2,"a":1}'))
    others = [
        idempotency_key(uid="other", call=call(arguments='{"a": 1, "b": 2}')),
        idempotency_key(uid="uid", call=call(arguments='{"a": 1, "b": 3}')),
        idempotency_key(uid="uid", call=call("u", '{"a": 1, "b": 2}')),
        idempotency_key(uid="uid", call=call(arguments='{"a": 1, "b": 2}', identity="3.1")),
    ]
    assert len({key, *others}) == 5


SECRET = SecretKeyRef(name="crm.prod", key="token")
HEADERS = (
    Header(name="Authorization", secret_key_ref=SECRET, prefix="Bearer "),
    Header(name="Accept", value="text/plain"),
    Header(name="Content-Type", value="application/vnd.crm+json"),
)


async def test_headers_come_from_the_task_and_from_secrets_and_no_echo_of_one_gets_further() -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/vnd.crm+json"
        assert request.headers.get_list("accept") == ["text/plain"]
        return httpx.Response(400, text=request.headers["authorization"])

    environment = {"AGENTTASK_SECRET_CRM_PROD_TOKEN": "very-secret\n"}
    http = HttpTool(url="http://tool.test", headers=HEADERS)
    result = await run(echo, call(), http=http, environment=environment)
    assert result == ToolResult(text="error: HTTP 400\nBearer ***", ok=False)


BAD_SECRETS = {
    "missing": ({}, "is not set"),
    "of two lines": ({"AGENTTASK_SECRET_CRM_PROD_TOKEN": "a\nsecret"}, "one line"),
}


@pytest.mark.parametrize(("environment", "words"), BAD_SECRETS.values(), ids=BAD_SECRETS.keys())
async def test_a_secret_that_cannot_be_sent_is_named_but_not_told(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SpecInvalid, match=words) as refused:
        await run(answers(200), call(), http=HttpTool(url="http://tool.test", headers=HEADERS), environment=environment)
    assert "AGENTTASK_SECRET_CRM_PROD_TOKEN" in str(refused.value)
    assert "a\n" not in str(refused.value)


async def test_a_result_is_cut_where_its_tool_says() -> None:
    tool = Tool(name="t", http=HttpTool(url="http://tool.test"), max_result_bytes=1024)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answers(200, text="x" * 2000))) as client:
        result = await Toolbox(tools=[tool], caller=CALLER, http=client, inherited={}).run(call())
    assert result.text == "x" * 1024 + "\n[cut: the first 1024 bytes]"


async def test_a_secret_that_lies_across_the_cut_is_not_told_in_part() -> None:
    tool = Tool(name="t", http=HttpTool(url="http://tool.test", headers=HEADERS), max_result_bytes=1024)
    environment = {"AGENTTASK_SECRET_CRM_PROD_TOKEN": "very-secret"}
    echo = answers(200, text="x" * 1020 + "very-secret" + "x" * 100)
    async with httpx.AsyncClient(transport=httpx.MockTransport(echo)) as client:
        result = await Toolbox(tools=[tool], caller=CALLER, http=client, inherited=environment).run(call())
    assert result.text == "x" * 1020 + "***x\n[cut: the first 1024 bytes]"


RECOVERIES: tuple[Literal["Once", "Idempotent"], ...] = ("Once", "Idempotent")
LOST: dict[str, tuple[Exception, bool]] = {
    "no connection": (httpx.ConnectError("refused"), False),
    "no connection in time": (httpx.ConnectTimeout("slow"), False),
    "a connection lost on the way": (httpx.ReadError("reset"), True),
    "half an answer": (httpx.RemoteProtocolError("peer closed connection"), True),
}


@pytest.mark.parametrize(("lost", "unknown"), LOST.values(), ids=LOST.keys())
async def test_of_a_call_that_must_not_run_twice_it_is_said_when_nobody_knows(lost: Exception, unknown: bool) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(raises(lost))) as client:
        tools = [Tool(name=name, recovery=name, http=HttpTool(url="http://tool.test")) for name in RECOVERIES]
        toolbox = Toolbox(tools=tools, caller=CALLER, http=client, inherited={})
        once, idempotent = [(await toolbox.run(call(tool.name))).text for tool in tools]
    assert ("is not known" in once) == unknown
    assert "is not known" not in idempotent
