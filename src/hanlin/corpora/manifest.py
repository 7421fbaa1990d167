"""
A corpus version on disk, and reading it back.

    corpus.json          what it is, where it came from, what is in it
    train.jsonl          {"text": …, "label": …}, one row per line    (kind "labelled": train, validation, test)
    text.jsonl           {"text": …}                                  (kind "text")
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from hanlin.corpora.files import FileDigest
from hanlin.corpora.profile import CorpusProfile
from hanlin.corpora.rows import Row
from hanlin.domain import InvalidInputError, NotFoundError

MANIFEST = "corpus.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusManifest:
    """What ``corpus.json`` says. *content_digest* covers labels and rows, not names or times."""

    name: str
    kind: str  # labelled, text
    source: str
    licence: str
    created_at: datetime
    content_digest: str
    source_files: tuple[FileDigest, ...]
    splits: Mapping[str, int]
    labels: tuple[str, ...]
    profile: CorpusProfile
    source_profile: CorpusProfile
    removed: Mapping[str, int]  # empty, duplicates, contradictory: rows of the source that are not in the version
    files: Mapping[str, str]  # SHA-256 of each jsonl file

    @property
    def rows(self) -> int:
        """How many rows the version has in all."""
        return sum(self.splits.values())


class _StoredRow(msgspec.Struct, omit_defaults=True):
    text: str
    label: str | None = None


def encode_row(row: Row) -> bytes:
    """Return one line of a jsonl file."""
    return msgspec.json.encode(_StoredRow(row.text, row.label)) + b"\n"


def content_digest(labels: tuple[str, ...], files: Mapping[str, str]) -> str:
    """Return the digest over what training would see: the labels in their order, and the rows of every split."""
    encoded = msgspec.json.encode([labels, sorted(files.items())])
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def write_manifest(folder: Path, manifest: CorpusManifest) -> None:
    """Write ``corpus.json``."""
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(folder: Path) -> CorpusManifest:
    """Return what ``corpus.json`` in *folder* says; raise ``corpus_version_missing`` or ``corpus_version_invalid``."""
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFoundError(
            f"{folder} is no corpus version: it has no {MANIFEST}",
            code="corpus_version_missing",
            hint="import it first",
        )
    try:
        return msgspec.json.decode(path.read_bytes(), type=CorpusManifest)
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"{path} cannot be read: {error}", code="corpus_version_invalid") from error


def iter_rows(folder: Path, split: str) -> Iterator[Row]:
    """Yield the rows of one split (``train``, ``validation``, ``test`` or ``text``); raise ``split_not_found``."""
    path = folder / f"{split}.jsonl"
    splits = read_manifest(folder).splits
    if split not in splits or not path.is_file():
        raise NotFoundError(
            f"{folder.name} has no split {split!r}", code="split_not_found", hint=f"it has {', '.join(splits)}"
        )
    decoder = msgspec.json.Decoder(_StoredRow)
    with path.open("rb") as lines:
        for line in lines:
            row = decoder.decode(line)
            yield Row(row.text, row.label, split)


def iter_texts(folder: Path) -> Iterator[str]:
    """Yield the texts that training may see: those of ``train``, or of ``text`` for running text."""
    splits = read_manifest(folder).splits
    return (row.text for row in iter_rows(folder, "train" if "train" in splits else "text"))
