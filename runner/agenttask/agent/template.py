"""Pure: `{{name}}` in the address and the body of an HTTP tool, and arguments in their places.

Arguments come from a model: whatever they hold, they stay inside the place they are put in. In an address they are
escaped, so that none becomes a part of its own; in a body they are put into decoded JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

_PLACE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class TemplateError(Exception):
    """A sentence: what is wrong with a template, or what a call's arguments lack for it."""


class Filled(NamedTuple):
    """An address, and the names of the arguments it has."""

    url: str
    used: frozenset[str]


def names(template: object) -> frozenset[str]:
    """The arguments a template asks for. Raises `TemplateError` for braces that are no place."""
    found: set[str] = set()
    for text in _texts(template):
        if "{{" in (rest := _PLACE.sub("", text)) or "}}" in rest:
            raise TemplateError(f"{text!r} has braces that are not of the form {{{{name}}}}")
        found.update(_PLACE.findall(text))
    return frozenset(found)


def fill_url(template: str, arguments: Mapping[str, Any]) -> Filled:
    """The address with all places filled. Raises `TemplateError`."""
    url = _PLACE.sub(lambda place: quote(_text(_argument(arguments, place[1])), safe=""), template)
    if any(part in {".", ".."} for part in urlsplit(url).path.split("/")):
        # Such a part would lead elsewhere on the same server, escaped or not.
        raise TemplateError("an argument makes a part of the address's path . or ..")
    return Filled(url, names(template))


def fill(template: Any, arguments: Mapping[str, Any]) -> Any:
    """The body with all places filled. Raises `TemplateError`."""
    if isinstance(template, dict):
        return {name: fill(value, arguments) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill(value, arguments) for value in template]
    if not isinstance(template, str):
        return template
    if (whole := _PLACE.fullmatch(template)) is not None:
        return _argument(arguments, whole[1])
    return _PLACE.sub(lambda place: _text(_argument(arguments, place[1])), template)


def _argument(arguments: Mapping[str, Any], name: str) -> Any:
    if name not in arguments:
        raise TemplateError(f"the argument {name} is missing")
    return arguments[name]


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _texts(template: object) -> Iterator[str]:
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for value in template.values():
            yield from _texts(value)
    elif isinstance(template, list | tuple):
        for value in template:
            yield from _texts(value)
