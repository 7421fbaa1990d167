"""Where a corpus comes from: files, how to read them, and what their owner says about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hanlin.corpora.columns import USUAL, Columns
from hanlin.corpora.encoding import check_encoding, detect_encoding
from hanlin.corpora.files import OnRead, check_file
from hanlin.corpora.readers import check_format, format_of, read_rows
from hanlin.corpora.rows import Row
from hanlin.corpora.splitting import USUAL_SPLIT, SplitPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file; *label* and *split* hold for all of its rows where the file itself has no columns for them."""

    path: Path
    label: str | None = None
    split: str | None = None
    format: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSource:
    """
    Files that together become a corpus version.

    *kind* is ``labelled`` or ``text``; None takes labels where the files have them. *labels* gives the order of
    the labels; others follow, sorted. *split* is used unless the import names another plan.
    """

    files: tuple[SourceFile, ...]
    note: str
    licence: str = ""
    kind: Literal["labelled", "text"] | None = None
    columns: Columns = USUAL
    labels: tuple[str, ...] = ()
    split: SplitPlan = USUAL_SPLIT

    def resolved(self) -> CorpusSource:
        """Return this source with every format and encoding settled, so that reading again does not detect again."""
        return replace(self, files=tuple(_settled(file) for file in self.files))

    def rows(self, on_read: OnRead | None = None) -> Iterator[Row]:
        """Yield the rows of all files in their order."""
        for file in self.files:
            rows = read_rows(
                file.path,
                file.format,
                columns=self.columns,
                is_labelled=self._has_label_column(file),
                encoding=file.encoding,
                on_read=on_read,
            )
            for row in rows:
                label = None if self.kind == "text" else file.label or row.label
                yield Row(row.text, label, file.split or row.split)

    def _has_label_column(self, file: SourceFile) -> bool | None:
        """Return whether *file* must have one (True), may not use one (False), or whether that is left to it (None)."""
        if self.kind == "text" or file.label is not None:
            return False
        return True if self.kind == "labelled" else None


def file_source(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002
    encoding: str | None = None,
    columns: Columns = USUAL,
    kind: Literal["labelled", "text"] | None = None,
    note: str = "",
    licence: str = "",
) -> CorpusSource:
    """Return the source that is one file of the user's."""
    file = SourceFile(path=path, format=format, encoding=encoding)
    return CorpusSource(files=(file,), note=note or path.name, licence=licence, kind=kind, columns=columns)


def _settled(file: SourceFile) -> SourceFile:
    check_file(file.path)
    return replace(
        file,
        format=format_of(file.path) if file.format is None else check_format(file.format),
        encoding=detect_encoding(file.path) if file.encoding is None else check_encoding(file.encoding),
    )
