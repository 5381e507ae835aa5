"""One server, and its store, reached straight or through a proxy."""

from __future__ import annotations

import dataclasses

from agenttask.store import Store
from agenttask.store.redis import RedisStore
from agenttask.store.redis import Server as RedisServer

from tests.api.store import servers
from tests.api.store.conftest import Server
from tests.api.store.proxy import Plan, Proxy


def before(server: Server | servers.RedisProcess, *, plan: Plan) -> Proxy:
    """A proxy that stands before the server."""
    return Proxy(server.endpoint if isinstance(server, Server) else server.url, plan=plan)


def reached(server: Server | servers.RedisProcess, endpoint: str | None) -> Store:
    """The store, at the server's own address or at another one."""
    if isinstance(server, Server):
        return (server if endpoint is None else dataclasses.replace(server, endpoint=endpoint)).store()
    return RedisStore(server=RedisServer(url=endpoint or server.url))
