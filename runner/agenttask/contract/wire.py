"""How everything on the wire is written."""

from __future__ import annotations

import msgspec


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of everything on the wire: camelCase names, unknown fields ignored, defaults left out."""
