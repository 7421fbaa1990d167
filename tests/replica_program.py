"""A replica as a process of its own: ``python replica_program.py '<ReplicaPlan as JSON>'``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from hanlin.engines import ReplicaPlan, run_replica

if __name__ == "__main__":
    fields = json.loads(sys.argv[1])
    fields |= {"gateway_socket": Path(fields["gateway_socket"]), "folder": Path(fields["folder"])}
    asyncio.run(run_replica(ReplicaPlan(**fields)))
