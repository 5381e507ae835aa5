"""Pure: what a kubelet says of an image it cannot pull, told once for as long as it stays the same.

It alternates between the error (`ErrImagePull`) and its back-off, which quotes the error; and an error of the network
has other ports in it each time. A status that followed would be written several times a minute, for every such pod.
"""

from __future__ import annotations

import re
from typing import Final

from agenttask_operator.status import CONDITION_CHARACTERS

_BACK_OFF: Final = re.compile(r'^Back-off pulling image "[^"]*"(: \w+: |$)')
_PORT: Final = re.compile(r":\d+->")


def told(message: str, *, before: str) -> str:
    """The words to show, given those shown `before` for the same pod ("": none)."""
    error = _BACK_OFF.sub("", message)[:CONDITION_CHARACTERS]
    if before and (not error or _PORT.sub("", error) == _PORT.sub("", before)):
        return before
    return error or message
