"""The YAML documents of a file, read as `kubectl` reads them (dates are text), but for a key that is there twice.

`kubectl` takes the last one; here it is refused, since one of the two is a mistake. So is what JSON does not have.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from agenttask.errors import SpecInvalid

STDIN: Final = Path("-")
MOST_BYTES: Final = 3 * 2**20
"""Of a file; the API server takes no longer request."""
MOST_VALUES: Final = 200_000
"""With aliases, a few lines can mean more than any memory holds."""
DEEPEST: Final = 200


class _Loader(yaml.SafeLoader):
    """Keys are text as it stands there, and so are dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading an object", node.start_mark, f"found {key.value} twice", key.start_mark
                )
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"
        return node


def documents_of(path: Path) -> list[Any]:
    """All documents of a file, or of standard input for `-`, but for empty ones. Raises `SpecInvalid`."""
    try:
        with sys.stdin.buffer if path == STDIN else path.open("rb") as file:
            read = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SpecInvalid(f"{path}: {error.strerror}") from error
    if len(read) > MOST_BYTES:
        raise SpecInvalid(f"{path}: is larger than {MOST_BYTES // 2**20} MiB")
    found = []
    try:
        loader = _Loader(text := read.decode())
        loader.name = str(path)
        while loader.check_data():  # type: ignore[no-untyped-call]
            found.append(loader.get_data())
    except UnicodeDecodeError as error:
        line = read.count(b"\n", 0, error.start) + 1
        raise SpecInvalid(f"{path}: line {line} is not UTF-8, which a manifest has to be") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecInvalid(f"{path}: line {line} has a control character in it, which YAML does not take") from error
    except RecursionError as error:
        raise SpecInvalid(f"{path}: is nested too deep") from error
    except yaml.YAMLError as error:
        raise SpecInvalid(f"{path}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise SpecInvalid(f"{path}: a number, or the number in an escape, is out of all bounds") from error
    for document in found:
        _check(document, source=str(path))
    return [document for document in found if document is not None]


def _check(document: Any, *, source: str) -> None:
    """Raises `SpecInvalid` for what is no JSON, or has no end."""
    left, values = [(document, "", 0)], 0
    while left:
        value, path, depth = left.pop()
        values += 1
        if depth > DEEPEST or values > MOST_VALUES:
            raise SpecInvalid(f"{source}: {path[:100]}… is nested too deep, or means too much by its aliases")
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecInvalid(f"{source}: {path} is {value}, which JSON does not have")
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
            raise SpecInvalid(f"{source}: {path} has half of a surrogate pair in it, which is no text")
        if isinstance(value, dict):
            left += [(each, f"{path}.{name}".lstrip("."), depth + 1) for name, each in value.items()]
        elif isinstance(value, list):
            left += [(each, f"{path}[{index}]", depth + 1) for index, each in enumerate(value)]
