"""Fleet drivers: that N replicas exist is their whole duty."""

from hanlin.fleet.local import FleetServer, LocalFleet, ReplicaPlacement, ReplicaProcess
from hanlin.fleet.lock import FolderLock
from hanlin.fleet.parent import child_environment, die_with_parent
from hanlin.fleet.ports import bind_port, inherited_listener
from hanlin.fleet.supervisor import ProcessSpec, ProcessStatus, Supervisor

__all__ = [
    "FleetServer",
    "FolderLock",
    "LocalFleet",
    "ProcessSpec",
    "ProcessStatus",
    "ReplicaPlacement",
    "ReplicaProcess",
    "Supervisor",
    "bind_port",
    "child_environment",
    "die_with_parent",
    "inherited_listener",
]
