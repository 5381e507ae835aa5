"""The CRD says the same as the contract, and says it well."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml
from agenttask import contract, report
from msgspec.structs import FieldInfo

CRD: Final = yaml.safe_load((Path(__file__).parents[3] / "crds/agenttask.yaml").read_text())
SCHEMA: Final = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
SCALARS: Final = {str: "string", int: "integer", bool: "boolean"}


def inner(annotation: Any) -> Any:
    """The type without `| None`, and a tuple's item."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (one for one in annotation.__args__ if one is not types.NoneType)
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0]
    return annotation


def differences(struct: type[msgspec.Struct], schema: Mapping[str, Any], *, at: str) -> Iterator[str]:
    """Where a contract type and a part of the CRD disagree, in words."""
    fields: dict[str, FieldInfo] = {one.encode_name: one for one in msgspec.structs.fields(struct)}
    for name in fields.keys() ^ schema["properties"].keys():
        yield f"{at}.{name} is in one of the two only"
    for name in fields.keys() & schema["properties"].keys():
        one, property_, where = fields[name], schema["properties"][name], f"{at}.{name}"
        kind = inner(one.type)
        default = property_.get("default")
        if default not in (None, {}) and msgspec.convert(default, one.type) != one.default:
            yield f"{where}: default {default!r} and {one.default!r}"
        if isinstance(one.default, int | str) and "default" not in property_:
            yield f"{where}: the default {one.default!r} is missing"
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from differences(kind, property_.get("items", property_), at=where)
        elif typing.get_origin(kind) is typing.Literal:
            if set(property_.get("items", property_)["enum"]) - set(typing.get_args(kind)):
                yield f"{where}: a value that the contract does not know"
        elif kind in SCALARS and property_.get("items", property_)["type"] != SCALARS[kind]:
            yield f"{where}: {property_['type']} and {kind}"


def test_the_spec_is_the_contracts() -> None:
    assert list(differences(contract.TaskSpec, SCHEMA["spec"], at="spec")) == []


@pytest.mark.parametrize("field", msgspec.structs.fields(contract.RunnerStatus), ids=lambda field: field.encode_name)
def test_the_runners_part_of_the_status_is_the_contracts(field: FieldInfo) -> None:
    schema = SCHEMA["status"]["properties"][field.encode_name]
    assert list(differences(inner(field.type), schema, at=field.encode_name)) == []


def test_the_runners_fields_are_those_the_contract_lists() -> None:
    assert tuple(one.encode_name for one in msgspec.structs.fields(contract.RunnerStatus)) == contract.RUNNER_FIELDS


def test_the_location_is_the_contracts() -> None:
    left = list(differences(contract.Location, SCHEMA["status"]["properties"]["location"], at="location"))
    assert left == ["location.prefix: the default '' is missing"]


def test_the_origin_is_the_contracts() -> None:
    assert list(differences(contract.ForkedFrom, SCHEMA["status"]["properties"]["forkedFrom"], at="forkedFrom")) == []


def test_group_version_and_names_are_the_contracts() -> None:
    spec = CRD["spec"]
    assert (spec["group"], spec["versions"][0]["name"]) == (contract.GROUP, contract.VERSION)
    assert (spec["names"]["plural"], spec["names"]["kind"]) == (contract.PLURAL, contract.KIND)


def test_the_answer_fits_where_the_contract_cuts_it() -> None:
    assert SCHEMA["status"]["properties"]["result"]["properties"]["answer"]["maxLength"] >= contract.ANSWER_BYTES


def described(schema: Mapping[str, Any], *, at: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Every property at any depth: its path, its schema, and whether it is required."""
    for name, property_ in schema.get("properties", {}).items():
        yield f"{at}.{name}", property_, name in schema.get("required", ())
        yield from described(property_.get("items", property_), at=f"{at}.{name}")


SPEC: Final = {path: (schema, required) for path, schema, required in described(SCHEMA["spec"], at="spec")}
STATUS: Final = {path: (schema, required) for path, schema, required in described(SCHEMA["status"], at="status")}
_SENTENCE: Final = re.compile(r"[A-Z`][^\n]*[^.]\.")


@pytest.mark.parametrize("path", [*SPEC, *STATUS])
def test_every_field_is_described_in_one_sentence(path: str) -> None:
    (schema, _) = {**SPEC, **STATUS}[path]
    assert _SENTENCE.fullmatch(schema["description"])


@pytest.mark.parametrize("path", SPEC)
def test_every_spec_field_says_its_default(path: str) -> None:
    schema, required = SPEC[path]
    said = re.search(r"\((required|default: (.+))\)\.$", schema["description"])
    assert said, schema["description"]
    assert (said[1] == "required") == required
    match schema.get("default"):
        case None | {}:
            pass
        case "":
            assert said[2] == "empty"
        case list() as values:
            assert said[2] == ", ".join(values)
        case bool() as value:
            assert said[2] == str(value).lower()
        case value:
            assert said[2] == str(value)


@pytest.mark.parametrize("path", [*SPEC, *STATUS])
def test_every_field_is_bounded(path: str) -> None:
    (schema, _) = {**SPEC, **STATUS}[path]
    match schema:
        case {"type": "string"}:
            assert schema.keys() & {"maxLength", "enum", "format"}
        case {"type": "integer"}:
            assert "minimum" in schema or path.endswith("tolerationSeconds")
        case {"type": "array"}:
            assert "maxItems" in schema
        case {"type": "object", "additionalProperties": _}:
            assert "maxProperties" in schema


def test_what_the_runner_says_it_does_fits() -> None:
    progress = SCHEMA["status"]["properties"]["progress"]["properties"]
    assert progress["message"]["maxLength"] >= report.MESSAGE_BYTES
