from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.control.ledgers import MemoryRecorder

from hanlin.control import Changes, Deployments, Promotions, Registry
from hanlin.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A real store in a file."""
    store = Store.open(tmp_path / "store.sqlite3")
    yield store
    store.close()


@pytest.fixture
def recorder() -> MemoryRecorder:
    """The ledger that changes are written into."""
    return MemoryRecorder()


@pytest.fixture
def changes(store: Store, recorder: MemoryRecorder) -> Changes:
    """Changes over the store and the ledger."""
    return Changes(store, recorder)


@pytest.fixture
def registry(store: Store, changes: Changes) -> Registry:
    """The registry over the store."""
    return Registry(store, changes)


@pytest.fixture
def promotions(store: Store, changes: Changes) -> Promotions:
    """Promotions over the store."""
    return Promotions(store, changes)


@pytest.fixture
def deployments(store: Store, changes: Changes) -> Deployments:
    """Deployments over the store."""
    return Deployments(store, changes)
