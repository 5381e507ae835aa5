"""The rules of the API that no JSON Schema can say, judged as the API server does: in CEL, with defaults filled in.

Needs the optional dependency `agenttask[validate]`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from agenttask.errors import SpecInvalid


def broken(value: Any, schema: dict[str, Any], *, path: str) -> Iterator[str]:
    """A sentence for each rule that the value, or a part of it, breaks. The value must fit the schema.

    Raises `SpecInvalid` if this installation has no CEL.
    """
    try:
        import cel  # noqa: PLC0415 - optional
    except ImportError as error:
        raise SpecInvalid(f"the API's rules need the package agenttask[validate] to be checked: {error}") from error
    yield from _broken(cel, with_defaults(value, schema), schema, path)


def with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """The value as the API server would keep it."""
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(each, schema["items"]) for each in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    filled = dict(value)
    for name, part in schema["properties"].items():
        if name not in filled and "default" in part:
            filled[name] = copy.deepcopy(part["default"])
        if name in filled:
            filled[name] = with_defaults(filled[name], part)
    return filled


def _broken(cel: Any, value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    for each in schema.get("x-rules", ()):
        context = cel.Context({"self": value})
        context.add_function("lowerAscii", str.lower)  # an extension that Kubernetes has
        if cel.evaluate(each["rule"], context) is not True:
            yield f"{path}: {each['message']}"
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from _broken(cel, value[name], part, f"{path}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            yield from _broken(cel, each, schema["items"], f"{path}[{index}]")
