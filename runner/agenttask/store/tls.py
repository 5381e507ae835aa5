"""Pure: the certificates somebody gives for a server, looked at before anything is sent."""

from __future__ import annotations

import ssl

from agenttask.errors import Misconfigured


def checked(ca: str) -> str:
    """The same certificates. `Misconfigured` if they are none: the libraries would say so of the connection."""
    try:
        if ca.strip() and ssl.create_default_context(cadata=ca).get_ca_certs():
            return ca
        why = "no certificate of an authority is in it"
    except (ssl.SSLError, TypeError) as error:  # the latter says that it is not ASCII
        why = str(error)
    raise Misconfigured(f"what is given to vouch for the server (caConfigMapRef) is not PEM: {why}")
