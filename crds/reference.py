"""Writes docs/api.md, the reference of every field, from the descriptions in agenttask.yaml.

Run it after a change of the CRD: `uv run python crds/reference.py`. A test compares the file with what this makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "crds/agenttask.yaml"
TARGET: Final = ROOT / "docs/api.md"

_INTRODUCTION: Final = """\
# AgentTask, field by field

Made from `crds/agenttask.yaml` by `crds/reference.py`; `kubectl explain agenttask --recursive` says the same.
API version `agenttask.dev/v1alpha1`, kind `AgentTask`, short name `agt`, category `agents`.
"""


def reference(crd: Any) -> str:
    """The whole page."""
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = [_INTRODUCTION]
    for part in ("spec", "status"):
        parts += [
            f"## {part}\n",
            f"{schema['properties'][part]['description']}\n",
            _table(schema["properties"][part], part),
        ]
    parts += ["## Rules\n", "Besides the bounds of each field, the API server refuses what breaks one of these.\n"]
    parts += ["\n".join(f"- {one}" for one in dict.fromkeys(_rules(schema))) + "\n"]
    return "\n".join(parts)


def _table(schema: Any, at: str) -> str:
    rows = [f"| `{path}` | {_type(field)} | {_cell(field['description'])} |" for path, field in _fields(schema, at)]
    return "\n".join(["| Field | Type | Meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _fields(schema: Any, at: str) -> Iterator[tuple[str, Any]]:
    for name, field in schema.get("properties", {}).items():
        path = f"{at}.{name}"
        yield path, field
        yield from _fields(field, path)
        yield from _fields(field.get("items", {}), f"{path}[]")


def _type(field: Any) -> str:
    """The type in words, with its bounds."""
    match field:
        case {"enum": [*values]}:
            words = ", ".join(f"`{value}`" for value in values)
        case {"type": "integer", "minimum": least, "maximum": most}:
            words = f"integer, {least} to {most}"
        case {"type": "integer", "minimum": least}:
            words = f"integer, at least {least}"
        case {"type": "string", "format": "date-time"}:
            words = "time"
        case {"type": "string", "maxLength": most}:
            words = f"string, at most {most}"
        case {"type": "array", "maxItems": most}:
            words = f"list, at most {most}"
        case {"type": "object", "additionalProperties": _}:
            words = "map"
        case _:
            words = field["type"]
    return words


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def _rules(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _rules(one)
    elif isinstance(schema, dict):
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for one in schema.values():
            yield from _rules(one)


if __name__ == "__main__":
    TARGET.write_text(reference(yaml.safe_load(SOURCE.read_text())))
