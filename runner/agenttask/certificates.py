"""Pure: the certificates somebody gives for a server, looked at before anything is sent."""

from __future__ import annotations

import ssl


def wrong_with(pem: str) -> str | None:
    """Why these vouch for no server; None if they do. Given to a library, none would mean the system's."""
    try:
        if pem.strip() and ssl.create_default_context(cadata=pem).get_ca_certs():
            return None
    except (ssl.SSLError, TypeError) as error:  # the latter says that it is not ASCII
        return str(error)
    return "no certificate of an authority is in it"
