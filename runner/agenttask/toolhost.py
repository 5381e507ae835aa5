"""Runs one call of a Python tool, in a process of its own: `python -m agenttask.toolhost pkg.mod:function`.

Arguments come as a JSON object on standard input and become keyword arguments; what the function returns goes to
standard output, text as it is and anything else as JSON. What the function prints is no result and goes to standard
error. With `--check` it only says which of several functions cannot be found.

Imports as little as it can: it starts once per call.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
from typing import Any, Final

RAISED: Final = 3
"""Exit code if the function raised; what it raised is on standard output, the traceback on standard error."""


def find(entry: str) -> Any:
    """The function `pkg.mod:function` names. Raises whatever keeps it from being found."""
    module, _, name = entry.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{entry} is no function")
    return found


def problem(error: BaseException) -> str:
    """One line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _call(entry: str) -> str:
    returned = find(entry)(**json.load(sys.stdin))
    if inspect.isawaitable(returned):
        import asyncio  # noqa: PLC0415 - only who needs it waits for it

        async def wait() -> Any:
            return await returned

        returned = asyncio.run(wait())
    return returned if isinstance(returned, str) else json.dumps(returned, ensure_ascii=False, allow_nan=False)


def _check(entries: list[str]) -> str:
    problems = {}
    for entry in entries:
        try:
            find(entry)
        except Exception as error:
            problems[entry] = problem(error)
    return json.dumps(problems)


def main(arguments: list[str]) -> int:
    """The process's exit code."""
    # Results get through on a descriptor of their own: whatever prints, in whatever language, prints to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    code = 0
    try:
        result = _check(arguments[1:]) if arguments[0] == "--check" else _call(arguments[0])
    except Exception as error:
        traceback.print_exc()
        result, code = problem(error), RAISED
    out.write(result)
    out.close()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
