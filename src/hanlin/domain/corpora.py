"""Corpora as the registry knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hanlin.domain.ids import CorpusName, Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusVersion:
    """One immutable state of a corpus: where its text came from, under which licence, and what is in it."""

    corpus: CorpusName
    number: int
    digest: Digest
    kind: str  # labelled, text
    source: str
    licence: str
    rows: int
    created_at: datetime
    created_by: str
    splits: Mapping[str, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    profile: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A pretrained model that training starts from, pinned by digest."""

    name: str
    digest: Digest
    source: str
    licence: str
    size_bytes: int
    created_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
