"""Where things lie in the data folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hanlin.domain import ConflictError

LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one data folder; nothing is created by asking for them."""

    root: Path

    @property
    def lock(self) -> Path:
        """The file that a running supervisor holds locked."""
        return self.root / "hanlin.lock"

    @property
    def store(self) -> Path:
        """The SQLite store."""
        return self.root / "store.sqlite3"

    @property
    def metrics(self) -> Path:
        """The time-series store."""
        return self.root / "metrics.sqlite3"

    @property
    def secrets(self) -> Path:
        """Keys that never leave the machine, readable by the owner only."""
        return self.root / "secrets"

    @property
    def artifacts(self) -> Path:
        """Immutable folders by digest."""
        return self.root / "artifacts"

    @property
    def uploads(self) -> Path:
        """Files on their way in."""
        return self.root / "uploads"

    @property
    def downloads(self) -> Path:
        """Pinned downloads, kept so that they are fetched once."""
        return self.root / "downloads"

    @property
    def tasks(self) -> Path:
        """One working folder per task: log, series, checkpoints."""
        return self.root / "tasks"

    @property
    def ledger(self) -> Path:
        """One log per writing process."""
        return self.root / "ledger"

    @property
    def logs(self) -> Path:
        """What the processes print."""
        return self.root / "logs"

    @property
    def snapshot(self) -> Path:
        """The gateway's last good snapshot."""
        return self.root / "snapshot.json"

    @property
    def state(self) -> Path:
        """Addresses of the running platform, for the command line."""
        return self.root / "up.json"

    @property
    def run(self) -> Path:
        """Sockets: below the data folder, or in the system's temporary folder where that path would be too long."""
        inside = self.root / "run"
        if len(bytes(inside / "supervisor.sock")) <= LONGEST_SOCKET_PATH:
            return inside
        name = hashlib.sha256(bytes(self.root)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"hanlin-{name}"

    @property
    def gateway_socket(self) -> Path:
        """Where replicas dial in."""
        return self.run / "gateway.sock"

    @property
    def control_socket(self) -> Path:
        """Where gateways dial in."""
        return self.run / "control.sock"

    @property
    def supervisor_socket(self) -> Path:
        """Where control asks for replicas."""
        return self.run / "supervisor.sock"

    def create(self) -> None:
        """
        Make the folders, closed to others; existing ones stay. Idempotent.

        Raises ConflictError (``run_folder_unsafe``) when somebody else has made, or can reach into, the folder of the
        sockets: whoever can reach them can start processes.
        """
        for folder in (
            self.root,
            self.secrets,
            self.artifacts,
            self.uploads,
            self.downloads,
            self.tasks,
            self.ledger,
            self.logs,
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            self.run.mkdir(mode=0o700)
        found = self.run.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not is_ours and not self.run.is_relative_to(self.root):
            raise ConflictError(
                f"{self.run} is not a folder of this user alone",
                code="run_folder_unsafe",
                hint="remove it, or choose a data folder with a shorter path",
            )
