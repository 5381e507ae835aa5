"""A scripted stand-in for a model, so that the demo needs no key: it is no model, it plays one conversation.

It speaks the chat-completions protocol and knows examples/research.yaml alone: look up ten rivers one by one, add the
lengths, say the sum. Whoever asks without that task's tools is told so. What it says next follows from the conversation
it is sent, so it keeps no state, and a call that is repeated gets the same reply. Every reply takes THINK_SECONDS
(default 1.5), as if it had thought.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RIVERS = ("Nile", "Amazon", "Yangtze", "Mississippi", "Yenisei", "Yellow River", "Ob", "Paraná", "Congo", "Amur")
NAME = "scripted-stand-in"
STRANGER = "I am no model, but a stand-in that plays examples/research.yaml: name another model to have this task done."


def reply(messages: list[dict[str, Any]], *, tools: list[str]) -> dict[str, Any]:
    """The next message of the conversation."""
    if not {"lookup", "add"} <= set(tools):
        return {"role": "assistant", "content": STRANGER}
    turn = sum(message["role"] == "assistant" for message in messages)
    results = [json.loads(message["content"]) for message in messages if message["role"] == "tool"]
    if turn < len(RIVERS):
        return asks(turn, "lookup", {"river": RIVERS[turn]})
    lengths = {river: result["km"] for river, result in zip(RIVERS, results, strict=False)}
    if turn == len(RIVERS):
        return asks(turn, "add", {"numbers": list(lengths.values())})
    longest = max(lengths, key=lambda river: lengths[river])
    return {"role": "assistant", "content": f"{results[-1]:,} km in all; the {longest} is the longest of the ten."}


def asks(turn: int, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A message that asks for one tool call."""
    function = {"name": tool, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": f"call_{turn}", "type": "function", "function": function}],
    }


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = reply(asked["messages"], tools=[tool["function"]["name"] for tool in asked.get("tools", ())])
        time.sleep(float(os.environ.get("THINK_SECONDS", "1.5")))
        body = json.dumps(
            {
                "object": "chat.completion",
                "model": NAME,
                "choices": [
                    {
                        "index": 0,
                        "message": message,
                        "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
                    }
                ],
                "usage": {"prompt_tokens": len(json.dumps(asked["messages"])) // 4, "completion_tokens": 20},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Handler).serve_forever()
