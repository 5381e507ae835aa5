"""A task from a file: the manifest `kubectl` would take, read as strictly as the API server reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from agenttask.contract import GROUP, KIND, VERSION, TaskSpec
from agenttask.documents import documents_of
from agenttask.errors import SpecInvalid

LONGEST_QUOTE: Final = 300
"""Characters of a sentence that quotes the manifest; a longer one is said without."""
MOST_TOLD: Final = 10
"""Objects of a file that are named where there is not one task among them."""

_LABEL: Final = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z"}
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA: Final = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "generateName": {},
        "name": _LABEL | {"maxLength": 52, "description": "A DNS label of at most 52 characters."},
        "namespace": _LABEL | {"maxLength": 63, "description": "A DNS label of at most 63 characters."},
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "finalizers": {"type": "array"},
        "ownerReferences": {"type": "array"},
    },
    "additionalProperties": False,
}
_CONFIG_MAP: Final = {
    "required": ["metadata"],
    "properties": {
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "data": _TEXTS
        | {
            "propertyNames": {
                "pattern": r"^(?!\.\.?\Z)[-._a-zA-Z0-9]{1,253}\Z",
                "description": "A key is the name of a file.",
            }
        },
    },
}
_SET_BY_SERVER: Final = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
"""Fields of metadata that a manifest made by `kubectl get -o yaml` has."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a local run needs of a task."""

    namespace: str | None
    name: str
    spec: TaskSpec
    config_maps: Mapping[str, Mapping[str, str]]
    """The ConfigMaps that stand beside it in the file, by name."""


def load(path: Path) -> Manifest:
    """The one AgentTask in a YAML file. Raises `SpecInvalid`, naming the field."""
    task, documents = find(path)
    return parse(task, source=str(path), others=documents)


def find(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """The one AgentTask in a YAML file as it stands there, and all there is. Raises `SpecInvalid`."""
    documents = documents_of(path)
    tasks = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if len(tasks) != 1:
        there = ", ".join(map(_kind, documents[:MOST_TOLD])) or "nothing"
        raise SpecInvalid(f"{path}: exactly one {KIND} is needed, and there is {there}")
    return tasks[0], documents


def _kind(document: Any) -> str:
    if not isinstance(document, dict):
        return f"a {'list' if isinstance(document, list) else 'text'}"
    kind, metadata = document.get("kind"), document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{kind or 'an object without kind'!s:.100} {name or ''!s:.100}".rstrip()


def parse(task: dict[str, Any], *, source: str, others: Sequence[Any] = ()) -> Manifest:
    """The task a decoded manifest describes. Raises `SpecInvalid`, naming all that is wrong."""
    if found := wrong(task):
        raise SpecInvalid(f"{source}: {'; '.join(found)}")
    return read(task, source=source, others=others)


def read(task: dict[str, Any], *, source: str, others: Sequence[Any] = ()) -> Manifest:
    """The task of a manifest with which nothing is `wrong`. Raises `SpecInvalid` for fields that do not go together."""
    metadata, raw = task["metadata"], task["spec"]
    try:
        spec = msgspec.convert(raw, TaskSpec)
    except msgspec.ValidationError as error:
        raise SpecInvalid(f"{source}: spec: {error}") from error
    if spec.prompt is not None and spec.prompt_from is not None:
        raise SpecInvalid(f"{source}: at most one of spec.prompt and spec.promptFrom may be set")
    sources = (spec.prompt, spec.prompt_from, spec.resume_from, spec.command)
    if all(each is None for each in sources):
        raise SpecInvalid(
            f"{source}: spec.prompt or spec.promptFrom is needed, unless spec.resumeFrom or spec.command is set"
        )
    return Manifest(
        namespace=metadata.get("namespace"), name=metadata["name"], spec=spec, config_maps=_config_maps(others, source)
    )


def _config_maps(documents: Sequence[Any], source: str) -> dict[str, dict[str, str]]:
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == "ConfigMap"]
    for each in found:
        if problems := [said for error in _Validator(_CONFIG_MAP).iter_errors(each) for said in _said(error)]:
            raise SpecInvalid(f"{source}: {_kind(each)}: {'; '.join(problems)}")
    return {each["metadata"]["name"]: each.get("data", {}) for each in found}


def spec_schema() -> dict[str, Any]:
    """What the CRD says of `spec`, as JSON Schema, with its rules beside it."""
    schema: dict[str, Any] = json.loads(files("agenttask").joinpath("spec.schema.json").read_bytes())
    return schema


def _unique(_: object, keys: list[str], value: Any, __: object) -> Iterator[ValidationError]:
    """Lists that the API server takes for maps."""
    seen: set[tuple[Any, ...]] = set()
    for each in value if isinstance(value, list) else ():
        key = tuple(each.get(name) for name in keys) if isinstance(each, dict) else ()
        if key in seen:
            yield ValidationError(f"{', '.join(map(str, key))} is there twice")
        seen.add(key)


_Validator: Final = extend(Draft202012Validator, {"x-keys": _unique})  # type: ignore[no-untyped-call]


def wrong(task: dict[str, Any]) -> list[str]:
    """All that the API server would refuse, but for rules in CEL."""
    if task.get("apiVersion") != f"{GROUP}/{VERSION}":
        return [f"apiVersion is {task.get('apiVersion')}; this version knows {GROUP}/{VERSION}"]
    schema = {
        "required": ["metadata", "spec"],
        "properties": {"apiVersion": {}, "kind": {}, "metadata": _METADATA, "spec": spec_schema(), "status": {}},
        "additionalProperties": False,
    }
    metadata = task.get("metadata")
    if isinstance(metadata, dict):
        task = task | {"metadata": {name: each for name, each in metadata.items() if name not in _SET_BY_SERVER}}
    errors = _Validator(schema).iter_errors(task)
    return [each for error in sorted(errors, key=lambda error: error.json_path) for each in _said(error)]


def _said(error: Any) -> Iterator[str]:
    path = error.json_path.removeprefix("$").removeprefix(".")
    below = f"{path}." if path else ""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        for name in (name for name in error.instance if name not in known):
            meant = get_close_matches(name, known, n=1)
            yield f"unknown field {below}{name}" + (f"; did you mean {meant[0]}?" if meant else "")
    elif error.validator == "required":
        yield from (f"{below}{name} is needed" for name in error.validator_value if name not in error.instance)
    elif len(error.message) > LONGEST_QUOTE:
        yield f"{path}: breaks {error.validator}: {error.validator_value}"
    elif error.validator == "pattern" and "description" in error.schema:
        yield f"{path}: {error.message}: {error.schema['description']}"
    elif (
        error.validator == "type"
        and error.validator_value == "string"
        and isinstance(error.instance, bool | int | float)
    ):
        yield f"{path}: {error.message}; put it in quotes"
    else:
        yield f"{path}: {error.message}"
