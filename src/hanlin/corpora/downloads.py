"""
Packages as carriers of data: downloaded with the user's own pip, pinned by digest, never installed or imported.

pip is asked by ``name==version`` with ``--hash``, so that it refuses other bytes before it looks into them. Of an
sdist it then asks setup.py for the metadata (it cannot just download), so an sdist is never fetched unpinned.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hanlin.corpora.files import file_digest
from hanlin.corpora.folders import reporting_full_disk
from hanlin.domain import (
    InvalidInputError,
    PlatformError,
    Reporter,
    SilentReporter,
    StorageFullError,
    UnavailableError,
    UnprocessableError,
)

TIMEOUT_S = 1800
WHEEL_ONLY = ("--only-binary=:all:",)
SILENT = SilentReporter()


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedDistribution:
    """One archive on a package index, the same bytes everywhere. *platform* pins a wheel that exists for several."""

    requirement: str  # name==version
    filename: str
    sha256: str
    platform: str = ""

    def fetch(self, cache: Path, reporter: Reporter = SILENT) -> Path:
        """
        Return the archive in the folder *cache*, downloaded unless it is there already. Idempotent.

        What is there is hashed again; other bytes are replaced. Raises UnavailableError (``download_failed``) when
        pip cannot get it, and ``download_digest_mismatch`` when the index offers other bytes.
        """
        target = cache / self.filename
        if target.is_file() and file_digest(target).sha256 == self.sha256:
            return target
        reporter.log("download started", package=self.requirement, file=self.filename)
        options = (*WHEEL_ONLY, f"--platform={self.platform}", "--python-version=3.11") if self.platform else ()
        return _download(self.requirement, f"--hash=sha256:{self.sha256}", cache, options)


def fetch_wheel(requirement: str, cache: Path, reporter: Reporter = SILENT) -> Path:
    """
    Return the wheel of ``name==version`` that suits this machine, fetched into *cache*; the caller notes its digest.

    Raises ``requirement_invalid`` and UnavailableError (``download_failed``).
    """
    name, separator, version = requirement.partition("==")
    if not (separator and all(_is_plain(part) for part in (name, version))):
        raise InvalidInputError(
            f"{requirement!r} does not name one version of a package",
            code="requirement_invalid",
            hint="write name==version",
        )
    reporter.log("download started", package=requirement)
    return _download(requirement, "", cache, WHEEL_ONLY)


def _is_plain(part: str) -> bool:
    return part.isascii() and part[:1].isalnum() and part.replace("-", "").replace("_", "").replace(".", "").isalnum()


def _download(requirement: str, pin: str, cache: Path, options: tuple[str, ...]) -> Path:
    """Run pip in a folder of its own below *cache*, and move the one file that it brings into *cache*."""
    with reporting_full_disk(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as scratch:
            wanted = Path(scratch, "requirements.txt")
            wanted.write_text(f"{requirement} {pin}\n", encoding="utf-8")
            folder = Path(scratch, "files")
            arguments = ["download", "--no-deps", f"--dest={folder}", *options, f"--requirement={wanted}"]
            done = _run_pip(arguments, scratch, requirement)
            if done.returncode:
                raise _failure(requirement, done.stderr)
            (found,) = folder.iterdir()
            return found.replace(cache / found.name)


def _run_pip(arguments: list[str], folder: str, requirement: str) -> subprocess.CompletedProcess[str]:
    # -P keeps the working folder off the import path: only this environment's pip is run.
    command = [sys.executable, "-P", "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"pip did not get {requirement} within {TIMEOUT_S:,} s", code="download_failed"
        ) from error


def _failure(requirement: str, said: str) -> PlatformError:
    if "DO NOT MATCH THE HASHES" in said:
        return UnprocessableError(
            f"the package index offers other bytes for {requirement} than were pinned; nothing of them was used",
            code="download_digest_mismatch",
            hint="check which index pip asks (pip config list)",
        )
    if os.strerror(errno.ENOSPC) in said:
        return StorageFullError(f"no room to download {requirement}", hint="free space, then try again")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    shown = "; ".join([line for line in lines if line.startswith("ERROR")][-2:] or lines[-2:])
    return UnavailableError(
        f"pip could not download {requirement}: {shown}",
        code="download_failed",
        hint="check that a package index can be reached (pip config list), or put the file into the downloads folder",
    )
