"""A task from a file: the manifest `kubectl` would take, read as strictly as the API server reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agenttask.contract import GROUP, KIND, VERSION, TaskSpec
from agenttask.errors import SpecInvalid


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a local run needs of a task."""

    namespace: str | None
    name: str
    spec: TaskSpec


def load(path: Path) -> Manifest:
    """The one AgentTask in a YAML file. Raises `SpecInvalid`, naming the field."""
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise SpecInvalid(f"{path}: {error}") from error
    tasks = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if len(tasks) != 1:
        raise SpecInvalid(f"{path}: holds {len(tasks)} objects of kind {KIND}; one is needed")
    return parse(tasks[0], source=str(path))


def parse(task: dict[str, Any], *, source: str) -> Manifest:
    """The task a decoded manifest describes."""
    if task.get("apiVersion") != f"{GROUP}/{VERSION}":
        raise SpecInvalid(f"{source}: apiVersion is {task.get('apiVersion')}; this version knows {GROUP}/{VERSION}")
    metadata, raw = task.get("metadata"), task.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not isinstance(raw, dict):
        raise SpecInvalid(f"{source}: metadata.name and spec are needed")
    try:
        spec = msgspec.convert(raw, TaskSpec)
    except msgspec.ValidationError as error:
        raise SpecInvalid(f"{source}: spec: {error}") from error
    if spec.prompt is None and spec.resume_from is None:
        raise SpecInvalid(f"{source}: spec: `prompt` is needed, unless `resumeFrom` is set")
    for unknown in unknown_fields(raw, msgspec.inspect.type_info(TaskSpec), path="spec"):
        raise SpecInvalid(f"{source}: unknown field {unknown}")
    return Manifest(namespace=metadata.get("namespace"), name=metadata["name"], spec=spec)


def unknown_fields(value: Any, kind: msgspec.inspect.Type, *, path: str) -> list[str]:
    """Paths of all fields a decoder of `kind` would ignore, which it does for the sake of version skew."""
    match kind:
        case msgspec.inspect.UnionType(types=types):
            structured = [one for one in types if not isinstance(one, msgspec.inspect.NoneType)]
            return (
                []
                if value is None
                else [found for one in structured for found in unknown_fields(value, one, path=path)]
            )
        case msgspec.inspect.VarTupleType(item_type=item) if isinstance(value, list):
            return [found for i, one in enumerate(value) for found in unknown_fields(one, item, path=f"{path}[{i}]")]
        case msgspec.inspect.StructType(fields=fields) if isinstance(value, dict):
            known = {field.encode_name: field.type for field in fields}
            unknown = [f"{path}.{name}" for name in value if name not in known]
            for name, one in known.items():
                if name in value:
                    unknown += unknown_fields(value[name], one, path=f"{path}.{name}")
            return unknown
        case _:
            return []
