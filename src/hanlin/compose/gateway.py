"""The gateway process."""

from __future__ import annotations

import asyncio
import logging

from hanlin.audit import Entry, Ledger, Receipt
from hanlin.compose.lifetime import stopping_on_signal
from hanlin.compose.parts import Home
from hanlin.fleet import inherited_listener
from hanlin.gateway import Gateway
from hanlin.wire import LedgerReport

logger = logging.getLogger(__name__)
WRITER = "gateway-0"


class ReportingLedger:
    """A ledger that can describe itself in the words of the wire."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def append(self, entry: Entry) -> Receipt:
        """Return when *entry* is durable."""
        return await self._ledger.append(entry)

    def state(self) -> LedgerReport:
        """Say how the log is."""
        size, root = self._ledger.head
        return LedgerReport(writer=self._ledger.writer, size=size, root=root, failed=self._ledger.is_failed)


async def run(home: Home) -> None:
    """Serve the prediction API until SIGTERM or SIGINT."""
    settings, layout = home.settings.gateway, home.layout
    listener = inherited_listener() or home.bind(settings)
    stopping = stopping_on_signal()
    with await asyncio.to_thread(home.open_ledger, WRITER) as ledger:
        gateway = Gateway(
            name=WRITER,
            settings=settings,
            snapshot_path=layout.snapshot,
            gateway_socket=layout.gateway_socket,
            control_socket=layout.control_socket,
            key_secret=home.key_secret(),
            join_token=home.join_token(),
            ledger=ReportingLedger(ledger),
        )
        await gateway.run(listener, stopping, lambda: logger.info("gateway listens"))
