"""Rows, leases and artifacts: what outlives every process."""

from hanlin.store.artifacts import ArtifactFile, ArtifactStore, Manifest
from hanlin.store.collection import Collection, Page
from hanlin.store.leases import Leases
from hanlin.store.sql import Store

__all__ = ["ArtifactFile", "ArtifactStore", "Collection", "Leases", "Manifest", "Page", "Store"]
