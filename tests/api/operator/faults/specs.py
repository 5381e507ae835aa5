"""Specs by chance, out of the CRD's own schema: any field that exists, within its bounds or a little outside."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from tests.api.client import Object

_WORDS: Final = ("a", "b-1", "0", "", "A b", "x" * 70, "1Gi", "https://e.example/v1", "a/b", "$(x)", "é")
_MOST_ITEMS: Final = 2


def specs(schema: Object) -> st.SearchStrategy[Object]:
    """Specs of tasks; each says something to do, and most fields are left out."""
    fields = {name: one for name, one in schema["properties"].items() if name not in {"prompt", "promptFrom"}}
    return _fields(fields, required=()).map(lambda chosen: {**chosen, "prompt": "Hello."})


def _fields(properties: Object, *, required: tuple[str, ...]) -> st.SearchStrategy[Object]:
    """Up to three fields besides those that must be there."""
    names = st.lists(st.sampled_from(sorted(properties)), max_size=3, unique=True) if properties else st.just([])
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries(
            {name: _value(properties[name]) for name in sorted({*chosen, *required}) if name in properties}
        )
    )


def _value(schema: Object) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        return _fields(schema["properties"], required=tuple(schema.get("required", ())))
    made: st.SearchStrategy[Any] = st.sampled_from(_WORDS)
    if kind == "object":
        extra = schema.get("additionalProperties")
        inner = _value(extra) if isinstance(extra, dict) else made
        made = st.dictionaries(st.sampled_from(_WORDS[:4]), inner, max_size=_MOST_ITEMS)
    elif kind == "array":
        made = st.lists(_value(schema["items"]), min_size=schema.get("minItems", 0), max_size=_MOST_ITEMS)
    elif kind == "integer":
        least, most = schema.get("minimum", 0), schema.get("maximum", 2**31)
        made = st.sampled_from(sorted({least - 1, least, least + 1, most, most + 1}))
    elif kind == "boolean":
        made = st.booleans()
    elif kind == "number":
        made = st.floats(0, 2, allow_nan=False)
    return made
