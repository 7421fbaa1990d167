"""The store: every noun's collection, leases and transactions over one SQL database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from hanlin import domain
from hanlin.domain import StorageFullError
from hanlin.store import tables
from hanlin.store.collection import Collection, join_key
from hanlin.store.leases import Leases
from hanlin.store.migrate import upgrade


class Store:
    """
    What is wanted and what is known, in one place.

    All calls block; asynchronous code uses a thread. Safe to share between threads. A value that was written is
    durable when the call (or the transaction around it) returns.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._local = engine, threading.local()
        connect = self.transaction
        self.leases = Leases(connect)
        self.corpora = Collection(
            connect,
            tables.corpora,
            domain.CorpusVersion,
            noun="corpus",
            key=lambda c: join_key(c.corpus, c.number),
            columns=lambda c: {"corpus": c.corpus},
        )
        self.bases = Collection(connect, tables.bases, domain.Base, noun="base", key=lambda b: b.name)
        self.models = Collection(connect, tables.models, domain.Model, noun="model", key=lambda m: m.name)
        self.versions = Collection(
            connect,
            tables.versions,
            domain.ModelVersion,
            noun="version",
            key=lambda v: join_key(v.model, v.number),
            columns=lambda v: {"model": v.model},
        )
        self.evidence = Collection(
            connect,
            tables.evidence,
            domain.Evidence,
            noun="evidence",
            key=lambda e: e.id,
            columns=lambda e: {"model": e.model, "version": e.version, "kind": e.kind},
        )
        self.promotions = Collection(
            connect,
            tables.promotions,
            domain.Promotion,
            noun="promotion",
            key=lambda p: p.id,
            columns=lambda p: {"model": p.model, "state": p.state.value},
        )
        self.aliases = Collection(
            connect,
            tables.aliases,
            domain.Alias,
            noun="alias",
            key=lambda a: join_key(a.model, a.name),
            columns=lambda a: {"model": a.model},
        )
        self.deployments = Collection(
            connect, tables.deployments, domain.Deployment, noun="deployment", key=lambda d: d.name
        )
        self.releases = Collection(
            connect,
            tables.releases,
            domain.Release,
            noun="release",
            key=lambda r: join_key(r.deployment, r.number),
            columns=lambda r: {"deployment": r.deployment},
        )
        self.tasks = Collection(
            connect,
            tables.tasks,
            domain.Task,
            noun="task",
            key=lambda t: t.id,
            columns=lambda t: {"state": t.state.value, "kind": t.kind, "schedule_id": t.schedule_id},
        )
        self.schedules = Collection(connect, tables.schedules, domain.Schedule, noun="schedule", key=lambda s: s.id)
        self.keys = Collection(
            connect,
            tables.keys,
            domain.ApiKey,
            noun="key",
            key=lambda k: k.id,
            columns=lambda k: {"kind": k.kind.value},
        )
        self.alert_rules = Collection(
            connect, tables.alert_rules, domain.AlertRule, noun="alert_rule", key=lambda r: r.id
        )
        self.alerts = Collection(
            connect,
            tables.alerts,
            domain.Alert,
            noun="alert",
            key=lambda a: a.id,
            columns=lambda a: {"rule_id": a.rule_id, "is_open": int(a.resolved_at is None)},
        )
        self.channels = Collection(connect, tables.channels, domain.Channel, noun="channel", key=lambda c: c.id)

    @classmethod
    def open(cls, url: str | Path) -> Store:
        """Open the database at *url* (an SQLAlchemy address, or the path of an SQLite file) and bring it up to date."""
        address = f"sqlite:///{url}" if isinstance(url, Path) else url
        engine = create_engine(address, pool_pre_ping=not address.startswith("sqlite"))
        if make_url(address).get_backend_name() == "sqlite":
            _make_sqlite_safe(engine)
        upgrade(engine)
        return cls(engine)

    @classmethod
    def open_in_memory(cls) -> Store:
        """Open an empty SQLite database that lives as long as the object; for tests."""
        from sqlalchemy.pool import StaticPool

        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        tables.metadata.create_all(engine)
        return cls(engine)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """
        Make everything inside one transaction of this thread; it is undone when an exception leaves the block.

        Raises StorageFullError when the database has no room; nothing was written then.
        """
        if (outer := getattr(self._local, "connection", None)) is not None:
            yield outer
            return
        with _reporting_full_disk(), self._engine.begin() as connection:
            self._local.connection = connection
            try:
                yield connection
            finally:
                self._local.connection = None

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


@contextmanager
def _reporting_full_disk() -> Iterator[None]:
    """Turn the words of SQLite and PostgreSQL for a full disk into StorageFullError."""
    try:
        yield
    except OperationalError as error:
        said = {getattr(error.orig, name, None) for name in ("sqlite_errorname", "sqlstate")}
        if said & {"SQLITE_FULL", "53100"}:
            raise StorageFullError(
                "the store's disk is full", hint="free some space, then try again; nothing was changed"
            ) from error
        raise


def _make_sqlite_safe(engine: Engine) -> None:
    """Durable commits, readers beside one writer, and no upgrade of read locks that could fail half-way."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
