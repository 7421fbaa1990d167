"""`python -m hanlin.compose ROLE`: one process of a platform. People use `hanlin`; the supervisor uses this."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.fleet import die_with_parent

if TYPE_CHECKING:
    from hanlin.compose.parts import Home


def main() -> int:
    """Run the process that the command line names."""
    die_with_parent()
    parser = argparse.ArgumentParser(prog="hanlin.compose", description=__doc__)
    parser.add_argument("role", choices=("control", "gateway", "worker", "replica", "job"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--placement", default="")
    parser.add_argument("--task", default="")
    options = parser.parse_args()

    from hanlin.compose.parts import Home
    from hanlin.telemetry import configure_logging

    home = Home.at(options.data)
    configure_logging(options.role, home.settings.log_level)
    return _run(home, options)


def _run(home: Home, options: argparse.Namespace) -> int:
    if options.role == "job":
        from hanlin.compose.worker import run_one_job

        return run_one_job(home, options.task)
    if options.role == "worker":
        from hanlin.compose import worker

        asyncio.run(worker.run(home))
        return 0

    import uvloop

    if options.role == "replica":
        import msgspec

        from hanlin.compose import replica
        from hanlin.fleet import ReplicaPlacement

        uvloop.run(replica.run(home, msgspec.json.decode(options.placement, type=ReplicaPlacement)))
    elif options.role == "gateway":
        from hanlin.compose import gateway

        uvloop.run(gateway.run(home))
    else:
        from hanlin.compose import control

        uvloop.run(control.run(home))
    return 0


if __name__ == "__main__":
    sys.exit(main())
