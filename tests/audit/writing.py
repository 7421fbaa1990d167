"""A process that writes a ledger and says what was acknowledged: ``writing.py DATA START``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from hanlin.audit import Entry, Ledger, LedgerKeys

CONCURRENCY = 16


async def append_for_ever(ledger: Ledger, start: int) -> None:
    """Append from many tasks at once; print a record's place and number only once it is acknowledged."""
    numbers = iter(range(start, sys.maxsize))

    async def append_one_by_one() -> None:
        for number in numbers:
            entry = Entry(kind="test", action="write", actor="test", subject=f"s{number}", request_id=str(number))
            receipt = await ledger.append(entry)
            os.write(1, f"{receipt.index} {number} {receipt.leaf_hash}\n".encode())

    await asyncio.gather(*(append_one_by_one() for _ in range(CONCURRENCY)))


def main(data: Path, start: int) -> None:
    """Write until killed, in small segments so that rotation is met too."""
    keys = LedgerKeys.load(data / "secrets")
    ledger = Ledger.open(data / "ledger", "gateway", keys=keys, segment_bytes=200_000, checkpoint_every_s=0.01)
    asyncio.run(append_for_ever(ledger, start))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
