"""One model, served fast."""

from hanlin.engines.encoder import TextEncoder
from hanlin.engines.engine import ENGINES, Engine, EngineInfo, create_engine
from hanlin.engines.replica import ReplicaPlan, ReplicaServer, run_replica
from hanlin.engines.servable import ServableInfo, read_servable

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "ReplicaPlan",
    "ReplicaServer",
    "ServableInfo",
    "TextEncoder",
    "create_engine",
    "read_servable",
    "run_replica",
]
