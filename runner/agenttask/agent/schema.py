"""Pure: JSON Schemas of people's own: whether one is sound, and whether a value matches it. Nothing is ever fetched.

`jsonschema` is imported only where a schema is there to be judged: it takes a twentieth of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

MOST: Final = 5
"""Violations that are told at once."""
LONGEST: Final = 300
"""Characters of one of them: it may quote the value."""


def flaw(schema: dict[str, Any]) -> str | None:
    """What is wrong with a schema, as a sentence, or None. Its references may lead nowhere but into itself."""
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012, SchemaRegistry  # noqa: PLC0415

    try:
        Draft202012Validator.check_schema(schema)
        registry: SchemaRegistry = SchemaRegistry()
        resolver = registry.resolver_with_root(DRAFT202012.create_resource(schema))
        for reference in _references(schema):
            resolver.lookup(reference)
    except SchemaError as error:
        at = error.json_path.removeprefix("$").lstrip(".")
        return _cut(f"{at}: {error.message}" if at else error.message)
    except Unresolvable as error:
        return _cut(f"the reference {error.ref} leads to nothing inside the schema")
    except RecursionError:
        return "it is nested too deep"
    return None


def violations(value: Any, *, schema: dict[str, Any]) -> str:
    """How a value breaks a schema without flaw, in words for a model; empty if it does not."""
    from itertools import islice  # noqa: PLC0415

    from jsonschema import Draft202012Validator  # noqa: PLC0415
    from referencing.jsonschema import SchemaRegistry  # noqa: PLC0415

    registry: SchemaRegistry = SchemaRegistry()
    try:
        errors = list(islice(Draft202012Validator(schema, registry=registry).iter_errors(value), MOST))
    except RecursionError:
        return "the schema, or the value, refers to itself without end"
    return "; ".join(_cut(f"{error.json_path}: {error.message}") for error in errors)


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name in {"$ref", "$dynamicRef"} and isinstance(value, str):
                yield value
            elif name not in {"const", "enum", "default", "examples"}:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
