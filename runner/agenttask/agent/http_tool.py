"""Runs one HTTP tool: a call's arguments become one request, its answer becomes the result.

A Secret's value goes into the header it is written beside and to that tool's address alone: no redirect is followed,
and a server that echoes it does not bring it into the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

from agenttask.agent.headers import values, without_secrets
from agenttask.agent.result import ToolResult, cut, error
from agenttask.agent.state import Call
from agenttask.agent.template import fill, fill_url
from agenttask.contract import HttpTool

QUERY_METHODS: Final = frozenset({"GET", "HEAD", "DELETE"})
"""Methods that carry their arguments in the query, since their bodies mean nothing."""
LONGEST_SECRET: Final = 64 * 1024
"""Bytes; servers take no longer headers. So much is read beyond a result's limit, to know one that lies across it."""


class HttpCaller:
    """Makes requests for tools, with headers from the runner's environment."""

    def __init__(self, *, http: httpx.AsyncClient, environment: Mapping[str, str]) -> None:
        self._http = http
        self._environment = environment

    async def request(self, tool: HttpTool, *, call: Call, key: str, limit: int) -> ToolResult:
        """Send one request. `limit` is of the result, in bytes. Raises `TemplateError` and httpx errors."""
        request = self._build(tool, call, key)
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit + LONGEST_SECRET:
                    break
        finally:
            await response.aclose()
            self._http.cookies.clear()  # a resumed run would not have them
        text = bytes(body).decode(errors="replace")
        if tool.method == "HEAD":
            text = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        # Before it is cut: the part of a secret that stands before the cut is nobody's business either.
        text = without_secrets(text, tool.headers, environment=self._environment)
        text = cut(text.encode(), limit=limit, whole=None)
        if response.is_success:
            return ToolResult(text=text or f"HTTP {response.status_code}, no body", ok=True)
        return error(f"HTTP {response.status_code}\n{text}".rstrip())

    def _build(self, tool: HttpTool, call: Call, key: str) -> httpx.Request:
        arguments: dict[str, Any] = msgspec.json.decode(call.arguments)
        url, used = fill_url(tool.url, arguments)
        rest = {name: value for name, value in arguments.items() if name not in used}
        headers = httpx.Headers({"idempotency-key": key})
        if tool.method in QUERY_METHODS:
            headers.update(values(tool.headers, environment=self._environment))
            return self._http.build_request(tool.method, url, params=query(url, rest), headers=headers)
        if tool.body is not None:
            content = msgspec.json.encode(fill(tool.body, arguments))
        else:
            content = msgspec.json.encode(rest) if used else call.arguments.encode()
        headers["content-type"] = "application/json"
        headers.update(values(tool.headers, environment=self._environment))
        return self._http.build_request(tool.method, url, content=content, headers=headers)


def query(url: str, arguments: Mapping[str, Any]) -> httpx.QueryParams:
    """The address's own query, and the arguments behind it.

    A list repeats its name, what is no scalar becomes JSON, null is left out.
    """
    pairs = httpx.URL(url).params.multi_items()
    for name, value in arguments.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                pairs.append((name, one if isinstance(one, str) else msgspec.json.encode(one).decode()))
    return httpx.QueryParams(tuple(pairs))
