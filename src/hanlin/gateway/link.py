"""The link to control: snapshots come in, reports go out; without control the last good snapshot stays in force."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from hanlin.domain import PlatformError
from hanlin.wire import FrameStream, GatewayReport, Snapshot

logger = logging.getLogger(__name__)
REPORT_S = 0.5
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


def load_snapshot(path: Path) -> Snapshot | None:
    """Return the last good snapshot kept at *path*, or None."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.DecodeError):
        return None


def keep_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Keep *snapshot* at *path*, whole or not at all."""
    scratch = path.with_suffix(".new")
    with contextlib.suppress(OSError):  # a full disk must not stop the gateway; the old snapshot stays
        with scratch.open("wb") as file:
            file.write(msgspec.json.encode(snapshot))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)


class ControlLink:
    """Dials control and keeps dialling."""

    def __init__(
        self,
        path: Path,
        *,
        apply: Callable[[Snapshot], Awaitable[None]],
        report: Callable[[], GatewayReport],
    ) -> None:
        self._path, self._apply, self._report = path, apply, report
        self._changed = asyncio.Event()

    def report_soon(self) -> None:
        """Send the next report at once."""
        self._changed.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._path))
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            pause = FIRST_PAUSE_S
            stream: FrameStream[Snapshot] = FrameStream(reader, writer, Snapshot)
            try:
                await self._talk(stream)
            finally:
                stream.close()
            await asyncio.sleep(pause)

    async def _talk(self, stream: FrameStream[Snapshot]) -> None:
        reporting = asyncio.create_task(self._send_reports(stream))
        try:
            while (snapshot := await stream.receive()) is not None:
                await self._apply(snapshot)
                self.report_soon()
        except OSError:
            logger.info("control went away")
        except PlatformError as error:
            logger.warning("control spoke nonsense", extra={"error": error.message})
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _send_reports(self, stream: FrameStream[Snapshot]) -> None:
        while True:
            await stream.send(self._report())
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), REPORT_S)
