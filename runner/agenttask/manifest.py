"""A task from a file: the manifest `kubectl` would take, read as strictly as the API server reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from agenttask.contract import GROUP, KIND, VERSION, TaskSpec
from agenttask.errors import SpecInvalid

LONGEST_QUOTE: Final = 300
"""Characters of a sentence that quotes the manifest; a longer one is said without."""


_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_FILE: Final = re.compile(r"(?!\.\.?$)[-._a-zA-Z0-9]{1,253}")
_LONGEST: Final = {"name": 52, "namespace": 63}


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
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise SpecInvalid(f"{path}: {error}") from error
    tasks = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if len(tasks) != 1:
        raise SpecInvalid(f"{path}: holds {len(tasks)} objects of kind {KIND}; one is needed")
    return tasks[0], documents


def parse(task: dict[str, Any], *, source: str, others: Sequence[Any] = ()) -> Manifest:
    """The task a decoded manifest describes. Raises `SpecInvalid`, naming all that is wrong."""
    if task.get("apiVersion") != f"{GROUP}/{VERSION}":
        raise SpecInvalid(f"{source}: apiVersion is {task.get('apiVersion')}; this version knows {GROUP}/{VERSION}")
    metadata, raw = task.get("metadata"), task.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not isinstance(raw, dict):
        raise SpecInvalid(f"{source}: metadata.name and spec are needed")
    for field, longest in _LONGEST.items():
        name = metadata.get(field)
        if name is not None and (len(str(name)) > longest or not _LABEL.fullmatch(str(name))):
            raise SpecInvalid(f"{source}: metadata.{field} must be a DNS label of at most {longest} characters")
    if wrong := list(_wrong(raw)):
        raise SpecInvalid(f"{source}: {'; '.join(wrong)}")
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


class _Named(msgspec.Struct):
    name: str


class _ConfigMap(msgspec.Struct, rename="camel"):
    metadata: _Named
    data: dict[str, str] = {}


def _config_maps(documents: Sequence[Any], source: str) -> dict[str, dict[str, str]]:
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == "ConfigMap"]
    try:
        read = msgspec.convert(found, list[_ConfigMap])
    except msgspec.ValidationError as error:
        raise SpecInvalid(f"{source}: a ConfigMap: {error}") from error
    for name in (name for each in read for name in each.data if not _FILE.fullmatch(name)):
        raise SpecInvalid(f"{source}: a ConfigMap cannot have a key {name}")
    return {each.metadata.name: each.data for each in read}


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


def _wrong(spec: dict[str, Any]) -> Iterator[str]:
    """What the API server would refuse, but for rules in CEL."""
    errors = _Validator(spec_schema()).iter_errors(spec)
    for error in sorted(errors, key=lambda error: error.json_path):
        path = "spec" + error.json_path.removeprefix("$")
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            yield from (f"unknown field {path}.{name}" for name in error.instance if name not in known)
        elif error.validator == "required":
            yield from (f"{path}.{name} is needed" for name in error.validator_value if name not in error.instance)
        elif len(error.message) <= LONGEST_QUOTE:
            yield f"{path}: {error.message}"
        else:
            yield f"{path}: breaks {error.validator}: {error.validator_value}"
