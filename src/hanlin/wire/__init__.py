"""
Every byte that crosses a process.

Two doors: this one for the data plane, and ``hanlin.wire.admin`` for management, so that a gateway never loads the
latter's schema library.
"""

from hanlin.wire.errors import openai_body, problem_body, translate
from hanlin.wire.frames import MAX_FRAME_BYTES, FrameDecoder, FrameStream, Message, encode_frame, unix_listener
from hanlin.wire.inference import Classification, ClassifyReply, ClassifyRequest, ModelEntry, ModelList, Usage
from hanlin.wire.replicas import (
    Batch,
    BatchFailed,
    Failed,
    FromReplica,
    Hello,
    Lease,
    Leaving,
    Ready,
    Refused,
    Result,
    ToReplica,
)
from hanlin.wire.snapshot import (
    DeploymentReport,
    GatewayReport,
    HistogramReport,
    KeyGrant,
    LedgerReport,
    ReplicaReport,
    Route,
    Snapshot,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "Batch",
    "BatchFailed",
    "Classification",
    "ClassifyReply",
    "ClassifyRequest",
    "DeploymentReport",
    "Failed",
    "FrameDecoder",
    "FrameStream",
    "FromReplica",
    "GatewayReport",
    "Hello",
    "HistogramReport",
    "KeyGrant",
    "Lease",
    "Leaving",
    "LedgerReport",
    "Message",
    "ModelEntry",
    "ModelList",
    "Ready",
    "Refused",
    "ReplicaReport",
    "Result",
    "Route",
    "Snapshot",
    "ToReplica",
    "Usage",
    "encode_frame",
    "openai_body",
    "problem_body",
    "translate",
    "unix_listener",
]
