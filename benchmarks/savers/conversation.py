"""One agent's work as all contenders are given it: a question, then steps of a reply that calls a tool and its result.

Replies and results are real text: the sources and docstrings of Python's standard library, read piece by piece as an
agent reads a code base. The same seed gives the same conversation, on the same version of Python.
"""

from __future__ import annotations

import ast
import json
import random
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

SYSTEM: Final = "You review code. Read what you need with the tools, one call at a time, and keep notes as you go."
PROMPT: Final = "Read the standard library and write down how its modules depend on each other."
WHOLE_FILE_ONE_IN: Final = 100
"""How seldom a result is a whole file instead of some lines of one."""


class Step(NamedTuple):
    """A reply, the call it makes, and what comes back."""

    thought: str
    tool: str
    arguments: str
    result: str


@cache
def _library() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every module of the standard library's top level: its name, and its lines."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in folder.glob("*.py") if path.stat().st_size > 4096)
    return tuple((path.name, tuple(path.read_text(errors="replace").splitlines())) for path in files)


@cache
def _prose() -> tuple[str, ...]:
    """Paragraphs of docstrings."""
    found = []
    for _, lines in _library():
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                found += [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return tuple(paragraph for paragraph in found if len(paragraph) > 80)


def conversation(*, steps: int, seed: int = 1) -> Iterator[Step]:
    """The first `steps` steps."""
    chance = random.Random(seed)
    for number in range(steps):
        name, lines = chance.choice(_library())
        thought = " ".join(chance.choices(_prose(), k=chance.randint(1, 3)))[:1200]
        if number % WHOLE_FILE_ONE_IN == WHOLE_FILE_ONE_IN - 1:
            start, count = 0, len(lines)
        else:
            count = min(len(lines), int(chance.lognormvariate(3.7, 0.6)) + 5)
            start = chance.randint(0, len(lines) - count)
        arguments = json.dumps({"path": f"/usr/lib/python/{name}", "line": start + 1, "limit": count})
        yield Step(thought, "read_lines", arguments, "\n".join(lines[start : start + count]))
