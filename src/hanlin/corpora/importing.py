"""Import: from source files to an immutable corpus version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from hanlin.corpora.files import ByteMeter, FileDigest, file_digest
from hanlin.corpora.folders import whole_folder
from hanlin.corpora.manifest import CorpusManifest, content_digest, write_manifest
from hanlin.corpora.profile import SPLITS, Census, CorpusProfile
from hanlin.corpora.rows import Row, text_key
from hanlin.corpora.sources import CorpusSource
from hanlin.corpora.splitting import SplitPlan, decide_cuts
from hanlin.corpora.writing import SplitFile
from hanlin.domain import ConflictError, InvalidInputError, Reporter, UnprocessableError

FEWEST_ROWS = 20
TEXT = "text"

SplitOf = Callable[[bytes], str]


def import_corpus(
    source: CorpusSource,
    out: Path,
    *,
    name: str,
    reporter: Reporter,
    licence: str = "",
    split: SplitPlan | None = None,
    created_at: datetime | None = None,
) -> CorpusManifest:
    """
    Write *source* as a corpus version into the new folder *out* and return what it says about itself.

    Reads twice: first to count, then to write each text once, without those that carry different labels, into the
    split that its owner or else its hash gave it. The same source gives the same bytes, but for the time in
    ``corpus.json``. The folder appears whole or not at all. Rows of a labelled corpus stand in the order of their
    hash, so that no split is sorted by label; running text keeps its order.

    Raises, besides what read_rows raises, ``corpus_empty``, ``corpus_label_missing``, ``corpus_single_label``,
    ``corpus_too_few_rows``, ``corpus_label_too_rare``, ``folder_exists`` and StorageFullError.

        import_corpus(file_source(Path("reviews.csv")), Path("reviews-1"), name="reviews", reporter=SilentReporter())
    """
    source = source.resolved()
    digests = tuple(file_digest(file.path) for file in source.files)
    meter = ByteMeter(reporter, 2 * sum(digest.size_bytes for digest in digests))
    census = Census()
    for row in source.rows(meter):
        census.add(row)
    labels = _check_labels(census, source.labels)
    reporter.log("corpus read", rows=census.rows, labels=len(labels), duplicates=census.duplicates)

    with whole_folder(out) as folder:
        split_of = _splitter(census, split or source.split) if labels else _in_one_piece
        kept, files = _write(folder, source.rows(meter), census, split_of, SPLITS if labels else (TEXT,))
        after = kept.profile()
        _check_splits(after, labels)
        _check_unchanged(source, digests)
        manifest = CorpusManifest(
            name=name,
            kind="labelled" if labels else "text",
            source=source.note,
            licence=licence or source.licence,
            created_at=created_at or datetime.now(UTC),
            content_digest=content_digest(labels, files),
            source_files=digests,
            splits={name: sum(after.splits[name].values()) for name in SPLITS} if labels else {TEXT: after.rows},
            labels=labels,
            profile=after,
            source_profile=census.profile(),
            removed=_removed(census, kept),
            files=files,
        )
        write_manifest(folder, manifest)
    reporter.log("corpus written", **manifest.splits, **{f"removed_{why}": n for why, n in manifest.removed.items()})
    return manifest


def _write(
    folder: Path, rows: Iterable[Row], census: Census, split_of: SplitOf, names: Sequence[str]
) -> tuple[Census, dict[str, str]]:
    """Write what is kept of *rows*; return its census and the SHA-256 of each file."""
    kept = Census()
    with ExitStack() as stack:
        files = {n: stack.enter_context(SplitFile(folder / f"{n}.jsonl", is_shuffled=names is SPLITS)) for n in names}
        for row in rows:
            key = text_key(row.text)
            if not row.text or key in kept or census.is_contradictory(key):
                continue
            name = split_of(key)
            kept.add(row._replace(split=name if name in SPLITS else None))
            files[name].write(row, key)
    return kept, {f"{name}.jsonl": file.sha256 for name, file in files.items()}


def _splitter(census: Census, plan: SplitPlan) -> SplitOf:
    """Return the rule that splits: by the text's hash, unless its owner did."""
    if census.has_given_splits:
        return lambda key: census.given_split(key) or "train"
    return decide_cuts(plan, census.usable_keys()).split_of


def _in_one_piece(_: bytes) -> str:
    return TEXT


def _check_labels(census: Census, order: Sequence[str]) -> tuple[str, ...]:
    """Return the labels in their order, none for running text; raise when there is nothing to learn from."""
    texts = census.rows - census.empty
    if not texts:
        raise InvalidInputError(
            f"there is no text in {census.rows:,} rows", code="corpus_empty", hint="bring a file with one text per row"
        )
    labels = {label for label in census.labels if label is not None}
    if not labels:
        return ()
    if missing := census.labels[None]:
        raise InvalidInputError(
            f"{missing:,} of {texts:,} texts have no label", code="corpus_label_missing", hint="label all rows or none"
        )
    if len(labels) == 1:
        raise UnprocessableError(
            f"all {texts:,} texts carry the one label {labels.pop()!r}",
            code="corpus_single_label",
            hint="a classifier needs at least two labels; import it as running text if labels do not matter",
        )
    return (*(label for label in order if label in labels), *sorted(labels.difference(order), key=_natural))


def _natural(label: str) -> tuple[int, str]:
    """Sort 2 before 10, and numbers before words."""
    return (len(label), label) if label.isdecimal() else (1000, label)


def _check_splits(after: CorpusProfile, labels: Sequence[str]) -> None:
    """Raise unless every split has rows and every label is among those to train on."""
    if not labels:
        return
    if after.rows < FEWEST_ROWS or len(after.splits) < len(SPLITS):
        empty = [name for name in SPLITS if name not in after.splits]
        raise UnprocessableError(
            f"{after.rows:,} different texts without contradictions are left"
            + (f", none of them for {' and '.join(empty)}" if empty else ""),
            code="corpus_too_few_rows",
            hint=f"bring at least {FEWEST_ROWS} different texts, better a thousand, with some for every split",
        )
    if rare := [label for label in labels if label not in after.splits["train"]]:
        raise UnprocessableError(
            f"no text to train on carries {', '.join(map(repr, rare[:5]))}",
            code="corpus_label_too_rare",
            hint="bring more texts with that label, or merge it with another",
        )


def _check_unchanged(source: CorpusSource, digests: Sequence[FileDigest]) -> None:
    for file, was in zip(source.files, digests, strict=True):
        if file_digest(file.path) != was:
            raise ConflictError(
                f"{was.name} changed while it was imported",
                code="corpus_source_changed",
                hint="import it again once nothing writes to it",
            )


def _removed(census: Census, kept: Census) -> Mapping[str, int]:
    contradictory = census.rows_in_conflict
    return {
        "empty": census.empty,
        "contradictory": contradictory,
        "duplicates": census.rows - census.empty - contradictory - kept.rows,
    }
