"""Pure: what of a text may reach a terminal. Models, tools and servers said much of what is printed."""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What a terminal would obey, or cannot show: controls but tab and line feed, changes of direction, lone surrogates."""


def safe(text: str) -> str:
    """The text without anything a terminal would obey."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
