"""What every process opens first: settings, the data folder, its secrets."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from hanlin.audit import Ledger, LedgerKeys
from hanlin.auth import load_secret
from hanlin.fleet import bind_port
from hanlin.settings import ControlSettings, GatewaySettings, Layout, Settings
from hanlin.store import ArtifactStore, Store


@dataclass(frozen=True, slots=True)
class Home:
    """One data folder with the settings that hold for it."""

    settings: Settings
    layout: Layout

    @classmethod
    def at(cls, data: Path | None = None) -> Home:
        """
        Read the settings from the environment and make the folders of *data* (or of HANLIN_DATA_DIR).

        From then on whatever this process writes is for its user only, also in a folder that was open to others.
        """
        os.umask(0o077)
        settings = Settings()
        layout = Layout((data or settings.data_dir).expanduser().resolve())
        layout.create()
        return cls(settings, layout)

    def with_self_approval(self) -> Home:
        """Return this home with promotions that may approve themselves, for child processes too."""
        os.environ["HANLIN_CONTROL__MAY_APPROVE_ITSELF"] = "true"
        return Home(Settings(), self.layout)

    def open_store(self) -> Store:
        """Open the store, at the schema of this release."""
        return Store.open(self.settings.store_url or self.layout.store)

    def artifacts(self) -> ArtifactStore:
        """Return the artifact store."""
        return ArtifactStore(self.layout.artifacts)

    def ledger_keys(self) -> LedgerKeys:
        """Return the ledger's keys, made on first use."""
        return LedgerKeys.load(self.layout.secrets)

    def open_ledger(self, writer: str) -> Ledger:
        """Open the log of *writer*; one process at a time may."""
        return Ledger.open(self.layout.ledger, writer, keys=self.ledger_keys())

    def bind(self, where: GatewaySettings | ControlSettings) -> socket.socket:
        """Return a listening socket where the settings say; raises what bind_port raises."""
        return bind_port(where.host, where.port, has_tls_in_front=self.settings.has_tls_in_front)

    def key_secret(self) -> bytes:
        """Return the secret under which keys are hashed."""
        return load_secret(self.layout.secrets / "key_hmac")

    def join_token(self) -> str:
        """Return what replicas show to gateways."""
        return load_secret(self.layout.secrets / "join_token").hex()

    def keep_credential(self, name: str, value: str) -> None:
        """Keep a credential for programs of this user, readable by nobody else."""
        path = self.layout.secrets / name
        scratch = path.with_name(f".{name}.{secrets.token_hex(4)}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value)
        scratch.replace(path)

    def credential(self, name: str) -> str:
        """Return a credential kept by keep_credential, or an empty text."""
        path = self.layout.secrets / name
        return path.read_text(encoding="ascii") if path.is_file() else ""
