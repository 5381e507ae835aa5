"""Writes runner/agenttask/spec.schema.json, by which `agenttask run` checks a manifest, from agenttask.yaml.

Plain JSON Schema: bounds, patterns and unknown fields as the API server judges them. Rules in CEL stand beside it as
`x-rules`, for `agenttask validate`; they are judged with all defaults in place, as the server does. Those that compare
with what was are the server's alone.
Run it after a change of the CRD: `uv run python crds/schema.py`. A test compares the file with what this makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "crds/agenttask.yaml"
TARGET: Final = ROOT / "runner/agenttask/spec.schema.json"

_KEPT: Final = ("type", "required", "enum", "pattern", "anyOf", "default")
_RULES: Final = "x-kubernetes-validations"
_BOUNDS: Final = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties")


def schema(crd: Any) -> str:
    """The whole file."""
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return json.dumps(_plain(spec), indent=1) + "\n"


def _plain(part: Any) -> dict[str, Any]:
    made = {name: part[name] for name in (*_KEPT, *_BOUNDS) if name in part}
    if str(made.get("pattern", "")).endswith("$"):
        made["pattern"] = made["pattern"][:-1] + r"\Z"  # to Python a $ may have a line break behind it
    if "pattern" in part and "description" in part:
        made["description"] = part["description"]  # says in words what the pattern asks for
    if _RULES in part:
        rules = [{"rule": each["rule"], "message": each["message"]} for each in part[_RULES]]
        if lasting := [each for each in rules if "oldSelf" not in each["rule"]]:
            made["x-rules"] = lasting
    if "properties" in part:
        made["properties"] = {name: _plain(one) for name, one in part["properties"].items()}
        made["additionalProperties"] = part.get("x-kubernetes-preserve-unknown-fields", False)
    if "additionalProperties" in part:
        made["additionalProperties"] = _plain(part["additionalProperties"])
    if "items" in part:
        made["items"] = _plain(part["items"])
    if part.get("x-kubernetes-list-type") == "set":
        made["uniqueItems"] = True
    if "x-kubernetes-list-map-keys" in part:
        made["x-keys"] = part["x-kubernetes-list-map-keys"]
    return made


if __name__ == "__main__":
    TARGET.write_text(schema(yaml.safe_load(SOURCE.read_text())))
