"""What can be asked of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    What to look for; a filter that is None lets everything pass.

    *subject*, *ip* and *text* look into the private part and find only what is not erased. *text* is looked for in
    the request, the result and the details, whatever its case. *label* also finds records whose ``labels`` hold it.
    """

    since: datetime | None = None
    until: datetime | None = None
    workspace: str | None = None
    kind: str | None = None
    action: str | None = None
    actor: str | None = None
    subject: str | None = None
    ip: str | None = None
    model: str | None = None
    version: int | None = None
    deployment: str | None = None
    label: str | None = None
    status: int | None = None
    min_latency_us: int | None = None
    request_id: str | None = None
    text: str | None = None

    @property
    def is_private(self) -> bool:
        """Whether the private part has to be opened to answer."""
        return self.subject is not None or self.ip is not None or self.text is not None
