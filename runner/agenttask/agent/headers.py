"""Headers of a task, with what its Secrets hold: for one address each, and never to be told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from agenttask.contract import Header, secret_variable
from agenttask.errors import SpecInvalid

_SENDABLE: Final = re.compile(r"[\x20-\x7e\t]+")


def values(headers: Sequence[Header], *, environment: Mapping[str, str]) -> dict[str, str]:
    """By name. Raises `SpecInvalid` for a Secret that is not there or cannot be sent, without telling it."""
    return {header.name: header.value or f"{header.prefix}{_secret(header, environment)}" for header in headers}


def without_secrets(text: str, headers: Sequence[Header], *, environment: Mapping[str, str]) -> str:
    """The text, if need be without what no log may hold: servers quote what they were sent."""
    for header in headers:
        if header.secret_key_ref is not None:
            text = text.replace(_secret(header, environment), "***")
    return text


def _secret(header: Header, environment: Mapping[str, str]) -> str:
    if header.secret_key_ref is None:
        return ""
    variable = secret_variable(header.secret_key_ref)
    secret = environment.get(variable, "").strip()  # the files that Secrets are made of end with a newline
    if not secret:
        raise SpecInvalid(f"the header {header.name} needs the variable {variable}, which is not set")
    if not _SENDABLE.fullmatch(secret):
        raise SpecInvalid(f"the header {header.name} cannot be sent: {variable} is no text of one line")
    return secret
