"""Pure: the form an answer must have: what the model is told of it, and whether an answer has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from agenttask.agent.reducer import MAX_DEPTH, is_deeper
from agenttask.agent.schema import violations
from agenttask.contract import FINISH_TOOL, Agent, Output

ALONE: Final = "Your final answer must be one JSON value and nothing else, without words or a code fence around it."
TAGGED: Final = "Put your final answer between <{tag}> and </{tag}>; what stands outside of them is not read."
MATCHING: Final = "{what} must match this JSON Schema:\n{schema}"
CALLED: Final = f"When you are done, call the tool {FINISH_TOOL} with your final answer. Nothing else ends the task."
_FENCED: Final = re.compile(r"\A```[A-Za-z]*[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The answer, without what stood around it."""

    answer: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Why the answer will not do, in words for the model."""

    why: str


def system_prompt(agent: Agent) -> str | None:
    """The system message: the agent's own, and how it is to give its answer."""
    parts = [agent.system_prompt, CALLED if agent.finish == "Tool" else None, *_form(agent)]
    return "\n\n".join(part for part in parts if part) or None


def finish_schema(output: Output) -> dict[str, Any]:
    """The tool by which the model gives its answer, as the model is told of it."""
    answer: dict[str, Any] = {"type": "string"} if output.format == "Text" else {}
    return {
        "type": "function",
        "function": {
            "name": FINISH_TOOL,
            "description": "Gives the final answer and ends the task.",
            "parameters": {
                "type": "object",
                "properties": {"answer": {**answer, "description": "The whole final answer."}},
                "required": ["answer"],
            },
        },
    }


def examine(text: str, *, agent: Agent) -> Accepted | Refused:
    """The answer in the model's last words, which may be those it finished with."""
    output = agent.output
    if output.format == "Text":
        return Accepted(answer=text)
    if output.tag is None:
        return _json(_unfenced(text.strip()), output=output, called=agent.finish == "Tool")
    opening, closing = f"<{output.tag}>", f"</{output.tag}>"
    begin, end = text.rfind(opening), text.rfind(closing)
    if begin < 0 or end < begin:
        return Refused(why=f"there is no {opening} with a {closing} behind it")
    inner = text[begin + len(opening) : end].strip()
    return Accepted(answer=inner) if output.schema is None else _json(inner, output=output, called=False)


def _form(agent: Agent) -> list[str]:
    output = agent.output
    if output.format == "Text":
        return []
    what = TAGGED.format(tag=output.tag) if output.tag else ALONE if agent.finish == "Reply" else ""
    if output.schema is None:
        return [what]
    schema = msgspec.json.encode(output.schema, order="sorted").decode()
    subject = "What stands there is JSON, and" if output.tag else "The answer"
    return [what, MATCHING.format(what=subject, schema=schema)]


def _json(text: str, *, output: Output, called: bool) -> Accepted | Refused:
    """`called`: the text may be a string that was given as one, and is none yet in JSON."""
    try:
        value: Any = msgspec.json.decode(text)
        deep = is_deeper(value, than=MAX_DEPTH)
    except RecursionError:
        deep = True
    except (msgspec.DecodeError, UnicodeError) as error:
        if not called:
            return Refused(why=f"it is not JSON ({error})")
        value, text, deep = text, msgspec.json.encode(text).decode(), False
    if deep:
        return Refused(why="it is nested too deep")
    if output.schema is not None and (wrong := violations(value, schema=output.schema)):
        return Refused(why=f"it does not match the schema: {wrong}")
    return Accepted(answer=text)


def _unfenced(text: str) -> str:
    """Without a code fence around all of it, which models cannot be talked out of."""
    fenced = _FENCED.match(text)
    return fenced[1].strip() if fenced else text
