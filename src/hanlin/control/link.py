"""Control's end of the link: gateways dial in, get the snapshot and each newer one, and report."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hanlin.domain import PlatformError
from hanlin.wire import FrameStream, GatewayReport, ReplicaReport, Snapshot, unix_listener

logger = logging.getLogger(__name__)
SILENT_AFTER_S = 3.0


class GatewayLink:
    """Holds the newest snapshot and the latest report of each gateway."""

    def __init__(self, *, on_report: Callable[[GatewayReport], None] = lambda _: None) -> None:
        self._on_report = on_report
        self._snapshot: Snapshot | None = None
        self._streams: set[FrameStream[GatewayReport]] = set()
        self._reports: dict[str, tuple[float, GatewayReport]] = {}
        self._server: asyncio.Server | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._heard = asyncio.Event()

    async def listen(self, path: Path) -> None:
        """Take gateways on the Unix socket at *path*."""
        self._server = await asyncio.start_unix_server(self._serve, sock=unix_listener(path))

    def close(self) -> None:
        """Take no more gateways and let go of those there are."""
        if self._server is not None:
            self._server.close()
        for stream in self._streams:
            stream.close()

    def publish(self, snapshot: Snapshot) -> None:
        """Send *snapshot* to every gateway, now and when it dials in."""
        self._snapshot = snapshot
        for stream in self._streams:
            self._send(stream, snapshot)

    async def acknowledged(self, revision: int, timeout_s: float) -> bool:
        """Whether every gateway that is not silent has put *revision* into force; waits for it, *timeout_s* at most."""
        try:
            async with asyncio.timeout(timeout_s):
                while any(report.revision < revision for report in self.gateways()):
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def gateways(self) -> list[GatewayReport]:
        """Return the latest report of each gateway that is not silent."""
        oldest = time.monotonic() - SILENT_AFTER_S
        return [report for seen, report in self._reports.values() if seen > oldest]

    def replicas(self) -> dict[str, ReplicaReport]:
        """Return the replicas that some gateway sees, by id; ready with one is ready."""
        seen: dict[str, ReplicaReport] = {}
        for replica in self._all_replicas():
            if replica.id not in seen or replica.state == "ready":
                seen[replica.id] = replica
        return seen

    def _all_replicas(self) -> Iterator[ReplicaReport]:
        for report in self.gateways():
            yield from report.replicas

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream: FrameStream[GatewayReport] = FrameStream(reader, writer, GatewayReport)
        self._streams.add(stream)
        try:
            if self._snapshot is not None:
                await stream.send(self._snapshot)
            while (report := await stream.receive()) is not None:
                self._reports[report.gateway] = (time.monotonic(), report)
                self._on_report(report)
                self._heard.set()
        except ConnectionError:
            logger.info("gateway went away")
        except PlatformError as error:
            logger.warning("a gateway spoke nonsense", extra={"error": error.message})
        finally:
            self._streams.discard(stream)
            stream.close()

    def _send(self, stream: FrameStream[GatewayReport], snapshot: Snapshot) -> None:
        task = asyncio.create_task(_send_quietly(stream, snapshot))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


async def _send_quietly(stream: FrameStream[GatewayReport], snapshot: Snapshot) -> None:
    try:
        await stream.send(snapshot)
    except ConnectionError:
        logger.info("gateway went away while a snapshot was sent")
