"""Pure: the certificates somebody gives for a store, looked at before anything is sent."""

from __future__ import annotations

from agenttask.certificates import wrong_with
from agenttask.errors import Misconfigured


def checked(ca: str) -> str:
    """The same certificates. `Misconfigured` if they are none: the libraries would say so of the connection."""
    if why := wrong_with(ca):
        raise Misconfigured(f"what is given to vouch for the server (caConfigMapRef) is not PEM: {why}")
    return ca
