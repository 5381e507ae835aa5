"""Arguments in the places of a template stay in them, whatever a model puts there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from agenttask.agent.template import TemplateError, fill, fill_url, names
from hypothesis import given, settings
from hypothesis import strategies as st

URLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a part of the path": ("http://h/users/{{id}}/posts", {"id": "a b"}, "http://h/users/a%20b/posts"),
    "a number": ("http://h/users/{{ id }}", {"id": 7}, "http://h/users/7"),
    "true": ("http://h/x?all={{all}}", {"all": True}, "http://h/x?all=true"),
    "what would be a path of its own": ("http://h/{{id}}/x", {"id": "../admin"}, "http://h/..%2Fadmin/x"),
    "what would be a query": ("http://h/{{id}}", {"id": "x?a=1&b#c"}, "http://h/x%3Fa%3D1%26b%23c"),
    "what is escaped already": ("http://h/{{id}}", {"id": "%2e%2e"}, "http://h/%252e%252e"),
    "an object": ("http://h/x?f={{f}}", {"f": {"a": [1]}}, "http://h/x?f=%7B%22a%22%3A%5B1%5D%7D"),
}


@pytest.mark.parametrize(("template", "arguments", "want"), URLS.values(), ids=URLS.keys())
def test_url(template: str, arguments: dict[str, Any], want: str) -> None:
    assert fill_url(template, arguments).url == want


@dataclass(frozen=True, kw_only=True)
class Body:
    template: Any
    arguments: dict[str, Any]
    want: Any


BODIES = {
    "a place alone keeps the type": Body(
        template={"n": "{{n}}"}, arguments={"n": [1, {"a": None}]}, want={"n": [1, {"a": None}]}
    ),
    "a place in a text becomes text": Body(template={"t": "no. {{n}}!"}, arguments={"n": 7}, want={"t": "no. 7!"}),
    "quotes end nothing": Body(template={"t": "<{{t}}>"}, arguments={"t": '", "x": "'}, want={"t": '<", "x": ">'}),
    "an argument is no template": Body(template={"t": "{{a}}"}, arguments={"a": "{{b}}", "b": 1}, want={"t": "{{b}}"}),
    "what has no place stays": Body(template={"k": [1, None, "x"]}, arguments={"n": 1}, want={"k": [1, None, "x"]}),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES.values(), ids=BODIES.keys())
def test_body(case: Body) -> None:
    assert fill(case.template, case.arguments) == case.want


ERRORS: dict[str, tuple[str, dict[str, Any], str]] = {
    "an argument that did not come": ("http://h/{{id}}", {}, "the argument id is missing"),
    "a way up": ("http://h/a/{{id}}/b", {"id": ".."}, "a part of the address's path . or .."),
    "a way up in two halves": ("http://h/a/{{x}}{{x}}/b", {"x": "."}, "a part of the address's path . or .."),
}


@pytest.mark.parametrize(("template", "arguments", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_an_address_that_cannot_be_had(template: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        fill_url(template, arguments)


@pytest.mark.parametrize("template", ["{{", "{{a b}}", "{{1}}", "a}}", "{{a}} }}", "{{{a}}}}"])
def test_braces_that_are_no_place_are_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="braces"):
        names({"a": [template]})


def test_the_places_of_a_template() -> None:
    assert names(["http://h/{{a}}?b={{ b }}", {"c": ["{{c}}-{{a}}", 1, None]}]) == {"a", "b", "c"}


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_no_argument_leaves_its_place(value: str) -> None:
    try:
        url = httpx.URL(fill_url("https://h.test/a/{{x}}/b?q={{x}}", {"x": value}).url)
    except TemplateError:
        assert value in {".", ".."}
        return
    assert (url.scheme, url.host, url.fragment) == ("https", "h.test", "")
    path, _, query = url.raw_path.partition(b"?")
    assert path.count(b"/") == 3
    assert path.startswith(b"/a/")
    assert path.endswith(b"/b")
    assert httpx.QueryParams(query.decode()).multi_items() == [("q", value)]
