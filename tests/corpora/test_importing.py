"""An import gives an immutable version, the same every time, or nothing at all."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hanlin.corpora import (
    CorpusManifest,
    CorpusSource,
    SourceFile,
    SplitPlan,
    file_source,
    import_corpus,
    iter_rows,
    iter_texts,
    normalised,
    profile,
    read_manifest,
)
from hanlin.domain import ConflictError, InvalidInputError, NotFoundError, PlatformError, SilentReporter

Write = Callable[..., Path]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("正面", "负面")


class NotingReporter(SilentReporter):
    """Remembers the progress that it was told."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def progress(self, done: float, total: float, unit: str, message: str = "") -> None:
        """Remember the share that is done."""
        self.shares.append(done / total)


def lines(count: int = 300) -> list[str]:
    rows = [{"text": f"第{number}条：服务{number % 7}分", "label": LABELS[number % 2]} for number in range(count)]
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def run(path: Path, out: Path, **options: object) -> CorpusManifest:
    source = file_source(path)
    return import_corpus(source, out, name="c", reporter=SilentReporter(), created_at=NOW, **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class TestImportCorpus:
    def test_writes_splits_and_says_what_is_in_them(self, write: Write, tmp_path: Path) -> None:
        """The manifest that is returned is the one on disk, and its figures are those of the files."""
        manifest = run(write("a.jsonl", "\n".join(lines())), tmp_path / "out", licence="CC0-1.0")

        assert read_manifest(tmp_path / "out") == manifest
        assert (manifest.kind, manifest.labels, manifest.rows, manifest.licence) == ("labelled", LABELS, 300, "CC0-1.0")
        assert set(contents(tmp_path / "out")) == {"corpus.json", "train.jsonl", "validation.jsonl", "test.jsonl"}
        for split, count in manifest.splits.items():
            assert len(list(iter_rows(tmp_path / "out", split))) == count > 0
            data = (tmp_path / "out" / f"{split}.jsonl").read_bytes()
            assert manifest.files[f"{split}.jsonl"] == hashlib.sha256(data).hexdigest()
        assert profile(itertools.chain(*(iter_rows(tmp_path / "out", s) for s in manifest.splits))) == manifest.profile

    def test_the_same_input_gives_the_same_bytes(self, write: Write, tmp_path: Path) -> None:
        """Twice the same source at the same time is the same folder, byte by byte."""
        path = write("a.jsonl", "\n".join(lines()))
        run(path, tmp_path / "one")
        run(path, tmp_path / "two")

        assert contents(tmp_path / "one") == contents(tmp_path / "two")

    def test_the_content_digest_is_about_content(self, write: Write, tmp_path: Path) -> None:
        """Order, duplicates, name and licence of the source do not change it; another text does."""
        one = run(write("a.jsonl", "\n".join(lines())), tmp_path / "one")
        same = run(write("b.jsonl", "\n".join([*reversed(lines()), lines()[3]])), tmp_path / "two", licence="other")
        other = run(write("c.jsonl", "\n".join(lines(301))), tmp_path / "three")

        assert one.content_digest == same.content_digest != other.content_digest

    def test_duplicates_and_contradictions_go(self, write: Write, tmp_path: Path) -> None:
        """Of equal texts the first stays; of a text with two labels nothing stays. Both profiles tell."""
        extra = [
            '{"text":"第0条：服务0分 ","label":"正面"}',
            '{"text":"第1条：服务1分","label":"正面"}',
            '{"text":" ","label":"负面"}',
        ]
        manifest = run(write("a.jsonl", "\n".join([*lines(), *extra])), tmp_path / "out")

        assert manifest.removed == {"empty": 1, "contradictory": 2, "duplicates": 1}
        assert (manifest.source_profile.duplicates, manifest.source_profile.label_conflicts) == (2, 1)
        assert (manifest.profile.rows, manifest.profile.duplicates, manifest.profile.label_conflicts) == (299, 0, 0)
        assert manifest.source_profile.rows == manifest.rows + sum(manifest.removed.values())

    def test_no_text_is_in_two_splits(self, write: Write, tmp_path: Path) -> None:
        """Not even written differently."""
        wide = [line.replace("第", "第 ").replace("0", "０") for line in lines()]
        manifest = run(write("a.jsonl", "\n".join([*lines(), *wide])), tmp_path / "out")
        texts = [{normalised(row.text) for row in iter_rows(tmp_path / "out", split)} for split in manifest.splits]

        assert all(a.isdisjoint(b) for a, b in itertools.combinations(texts, 2))
        assert set(manifest.profile.leakage.values()) == {0}

    def test_rows_are_not_sorted_by_label(self, write: Write, tmp_path: Path) -> None:
        """A source that lists one class after the other becomes mixed."""
        run(write("a.jsonl", "\n".join(sorted(lines(), key=lambda line: line[-4:]))), tmp_path / "out")
        first = [row.label for row in itertools.islice(iter_rows(tmp_path / "out", "train"), 30)]

        assert set(first) == set(LABELS)

    def test_splits_of_the_owner_are_kept_without_leakage(self, write: Write, tmp_path: Path) -> None:
        """Given splits stay as they are; a text in several goes to the most held-out one, and the profile says so."""
        splits = ["train"] * 6 + ["validation", "test"] * 2
        rows = [json.loads(line) | {"split": splits[number % 10]} for number, line in enumerate(lines())]
        rows.append(rows[0] | {"split": "test"})
        manifest = run(write("a.jsonl", "\n".join(map(json.dumps, rows))), tmp_path / "out")

        assert manifest.source_profile.leakage["train/test"] == 1
        assert manifest.splits == {"train": 179, "validation": 60, "test": 61}

    def test_running_text_keeps_its_order(self, write: Write, tmp_path: Path) -> None:
        """Text without labels becomes one file; repeated lines go."""
        manifest = run(write("a.txt", "第一段。\n第二段。\n\n第一段。\n第三段。\n"), tmp_path / "out")

        assert (manifest.kind, manifest.splits) == ("text", {"text": 3})
        assert list(iter_texts(tmp_path / "out")) == ["第一段。", "第二段。", "第三段。"]

    def test_several_files_become_one_corpus(self, write: Write, tmp_path: Path) -> None:
        """A file may stand for a label; the owner's order of labels is kept."""
        files = tuple(
            SourceFile(path=write(f"{label}.txt", "\n".join(f"{label}{n}" for n in range(50))), label=label)
            for label in ("b", "a")
        )
        source = CorpusSource(files=files, note="two files", labels=("b", "a"))
        manifest = import_corpus(source, tmp_path / "out", name="c", reporter=SilentReporter())

        assert (manifest.labels, manifest.rows) == (("b", "a"), 100)
        assert [file.name for file in manifest.source_files] == ["b.txt", "a.txt"]

    def test_labels_can_be_left_out(self, write: Write, tmp_path: Path) -> None:
        """A labelled file can be imported as running text."""
        source = file_source(write("a.jsonl", "\n".join(lines(5))), kind="text")

        assert import_corpus(source, tmp_path / "out", name="c", reporter=SilentReporter()).splits == {"text": 5}

    def test_tells_its_progress(self, write: Write, tmp_path: Path) -> None:
        """Progress grows from near nothing to all, both passes counted."""
        reporter = NotingReporter()
        path = write("a.jsonl", "\n".join(lines(60_000)))
        import_corpus(file_source(path), tmp_path / "out", name="c", reporter=reporter)

        assert reporter.shares == sorted(reporter.shares)
        assert reporter.shares[-1] == 1
        assert 4 <= len(reporter.shares) <= 101


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "code"),
        [
            ("", "corpus_empty"),
            ('{"text": " ", "label": "x"}\n', "corpus_empty"),
            ("\n".join(f'{{"text": "t{n}", "label": "x"}}' for n in range(50)), "corpus_single_label"),
            ("\n".join(lines(8)), "corpus_too_few_rows"),
            ("\n".join([*lines(60), '{"text":"第2条：服务2分","label":"rare"}']), "corpus_label_too_rare"),
        ],
    )
    def test_what_cannot_be_trained_on_is_refused(self, write: Write, tmp_path: Path, content: str, code: str) -> None:
        """Each with its own code and a hint, and without leaving anything behind."""
        path = write("a.jsonl", content)

        with pytest.raises(PlatformError) as caught:
            run(path, tmp_path / "out")

        assert (caught.value.code, bool(caught.value.hint)) == (code, True)
        assert list(tmp_path.iterdir()) == [path]

    def test_labels_that_must_be_there_are_asked_for(self, write: Write, tmp_path: Path) -> None:
        """A corpus that is to be labelled does not become running text unnoticed."""
        path = write("a.csv", "text,mood\n好,正\n")

        with pytest.raises(InvalidInputError) as caught:
            import_corpus(file_source(path, kind="labelled"), tmp_path / "o", name="c", reporter=SilentReporter())

        assert caught.value.code == "corpus_label_column_missing"

    def test_a_mixture_of_labelled_and_unlabelled_files_is_refused(self, write: Write, tmp_path: Path) -> None:
        """Labels are for all rows or for none."""
        files = (SourceFile(path=write("a.txt", "x"), label="l"), SourceFile(path=write("b.txt", "y")))
        with pytest.raises(InvalidInputError) as caught:
            import_corpus(CorpusSource(files=files, note=""), tmp_path / "o", name="c", reporter=SilentReporter())

        assert caught.value.code == "corpus_label_missing"

    def test_a_minimum_that_cannot_be_met_is_refused(self, write: Write, tmp_path: Path) -> None:
        """Nothing is written when the plan asks for more than there is."""
        path = write("a.jsonl", "\n".join(lines()))

        with pytest.raises(PlatformError) as caught:
            run(path, tmp_path / "out", split=SplitPlan(minimum_test=1000))

        assert caught.value.code == "corpus_too_few_rows"
        assert list(tmp_path.iterdir()) == [path]

    def test_an_existing_version_is_not_overwritten(self, write: Write, tmp_path: Path) -> None:
        """Versions are immutable."""
        path = write("a.jsonl", "\n".join(lines()))
        run(path, tmp_path / "out")
        before = contents(tmp_path / "out")

        with pytest.raises(ConflictError) as caught:
            run(path, tmp_path / "out")

        assert caught.value.code == "folder_exists"
        assert contents(tmp_path / "out") == before

    def test_a_row_that_is_malformed_in_the_middle_leaves_nothing(self, write: Write, tmp_path: Path) -> None:
        """The line is named, and no folder is begun."""
        path = write("a.jsonl", "\n".join([*lines(), "oops", *lines()]))

        with pytest.raises(InvalidInputError, match="line 301 "):
            run(path, tmp_path / "out")

        assert list(tmp_path.iterdir()) == [path]

    def test_a_full_disk_leaves_nothing(self, write: Write, tmp_path: Path) -> None:
        """
        When the system has no more room, the error says so and the half-written folder is gone.

        A limit on file sizes, set by the kernel for a process of its own, stands in for the disk.
        """
        path = write("a.txt", "\n".join(f"第{number}段" for number in range(20_000)))
        program = f"""
import resource, sys
from pathlib import Path
from hanlin.corpora import file_source, import_corpus
from hanlin.domain import SilentReporter, StorageFullError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    source, out = file_source(Path({str(path)!r})), Path({str(tmp_path / "out")!r})
    import_corpus(source, out, name="c", reporter=SilentReporter())
except StorageFullError as error:
    sys.exit(f"{{error.code}}: {{error}}")
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

        assert done.stderr.startswith("storage_full: no room to write"), done.stderr
        assert list(tmp_path.iterdir()) == [path]


class TestReadingBack:
    def test_what_is_no_version_is_said(self, tmp_path: Path) -> None:
        """A folder without, or with a damaged corpus.json is not guessed at."""
        with pytest.raises(NotFoundError) as missing:
            read_manifest(tmp_path)
        (tmp_path / "corpus.json").write_text('{"name": 3}')
        with pytest.raises(InvalidInputError) as invalid:
            read_manifest(tmp_path)

        assert (missing.value.code, invalid.value.code) == ("corpus_version_missing", "corpus_version_invalid")

    def test_an_unknown_split_is_said_with_those_there_are(self, write: Write, tmp_path: Path) -> None:
        """Also when the name tries to leave the folder."""
        run(write("a.txt", "x"), tmp_path / "out")

        for name in ("train", "../a", "/etc/passwd"):
            with pytest.raises(NotFoundError, match="it has text") as caught:
                next(iter_rows(tmp_path / "out", name))
            assert caught.value.code == "split_not_found"
