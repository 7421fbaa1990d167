"""Identifiers: one type per noun, and time-ordered unique values for them."""

from __future__ import annotations

import os
import time
from typing import NewType
from uuid import UUID

CorpusName = NewType("CorpusName", str)
Digest = NewType("Digest", str)
ModelName = NewType("ModelName", str)
DeploymentName = NewType("DeploymentName", str)
ReplicaId = NewType("ReplicaId", str)
TaskId = NewType("TaskId", str)
ScheduleId = NewType("ScheduleId", str)
KeyId = NewType("KeyId", str)
PromotionId = NewType("PromotionId", str)
EvidenceId = NewType("EvidenceId", str)
AlertRuleId = NewType("AlertRuleId", str)
AlertId = NewType("AlertId", str)
ChannelId = NewType("ChannelId", str)
RequestId = NewType("RequestId", str)


def new_uuid() -> str:
    """Return a UUIDv7 (RFC 9562 §5.7) as text: unique, and ordered by the time it was made (to the millisecond)."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(UUID(int=value & (1 << 128) - 1))


def new_id(prefix: str) -> str:
    """Return a new id such as ``task_0190b6…``: the noun it belongs to, then 32 hexadecimal digits ordered by time."""
    return f"{prefix}_{new_uuid().replace('-', '')}"
