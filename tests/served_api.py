"""The management API on a real port, in a thread beside the test: for clients that wait for their answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from tests.control.assembly import assemble, issue

from hanlin.audit import Ledger, LedgerKeys
from hanlin.control import Services, create_app
from hanlin.domain import Role
from hanlin.settings import Layout


@dataclass(frozen=True)
class ServedApi:
    """Where the API answers, a key with every role, and what lies behind it."""

    url: str
    key: str
    services: Services


@contextmanager
def served_api(folder: Path) -> Iterator[ServedApi]:
    """Serve a management plane over *folder*, with a real store and a real ledger, until the block ends."""
    layout = Layout(folder / "data")
    layout.create()
    keys = LedgerKeys.load(layout.secrets)
    with Ledger.open(layout.ledger, "control", keys=keys) as ledger:
        services = assemble(layout.root, ledger, keys)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(services), log_config=None, ws="none"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            yield ServedApi(f"http://127.0.0.1:{listener.getsockname()[1]}", issue(services, *Role), services)
        finally:
            server.should_exit = True
            thread.join(20)
            listener.close()
            services.series.close()
            services.store.close()
