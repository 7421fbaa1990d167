"""Batches: like length, every text once an epoch, and the same again from the same seed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny_bert import build_corpus, reviews
from tokenizers import Tokenizer

from hanlin.corpora import file_source, import_corpus
from hanlin.domain import InvalidInputError, SilentReporter
from hanlin.training.batches import Examples, collate, epoch_batches, labels_of
from hanlin.training.scratch import train_tokenizer

LABELS = ("正面", "负面")


def examples(lengths: list[int]) -> Examples:
    return Examples([[7] * length for length in lengths], [index % 2 for index in range(len(lengths))])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("corpora") / "reviews")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return train_tokenizer([text for text, _ in reviews()], 500, tmp_path)


class TestEpochBatches:
    @given(st.lists(st.integers(1, 60), min_size=1, max_size=300), st.integers(1, 16), st.integers(0, 9))
    @settings(max_examples=50)
    def test_every_text_comes_once(self, lengths: list[int], size: int, seed: int) -> None:
        """An epoch is all of the corpus in batches no larger than asked for, as many as the step count says."""
        batches = epoch_batches(examples(lengths), size, seed)

        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert max(map(len, batches)) <= size
        if len(lengths) <= size * 40:
            assert len(batches) == -(-len(lengths) // size)

    def test_texts_of_like_length_go_together(self) -> None:
        """Padding stays below a twentieth of the tokens where batches at random would double them."""
        lengths = [4 + index * 37 % 97 for index in range(640)]
        padded = sum(len(b) * max(lengths[i] for i in b) for b in epoch_batches(examples(lengths), 16, 1))

        assert padded < 1.05 * sum(lengths)

    def test_the_same_seed_gives_the_same_order(self) -> None:
        """A resumed run finds the batches that it left; another epoch has others."""
        some = examples([5 + index % 7 for index in range(100)])

        assert epoch_batches(some, 8, 3) == epoch_batches(some, 8, 3)
        assert epoch_batches(some, 8, 3) != epoch_batches(some, 8, 4)

    def test_batches_are_not_sorted_by_length(self) -> None:
        """Short and long batches alternate, so that the last steps do not see the longest texts only."""
        widths = [len(b) for b in epoch_batches(examples(list(range(1, 101))), 10, 1)]
        firsts = [b[0] for b in epoch_batches(examples(list(range(1, 101))), 10, 1)]

        assert set(widths) == {10}
        assert firsts != sorted(firsts)


class TestExamples:
    def test_reads_a_split_as_ids_and_label_numbers(self, corpus: Path, tokenizer: Tokenizer) -> None:
        """A text becomes its tokens between the special ones; its label the number in the corpus's order."""
        rows = [json.loads(line) for line in (corpus / "train.jsonl").read_text("utf-8").splitlines()]
        read = Examples.read(corpus, "train", tokenizer, LABELS, 40)

        assert len(read) == len(rows)
        assert tokenizer.decode(read.ids[0]) == " ".join(tokenizer.encode(rows[0]["text"]).tokens[1:-1])
        assert read.labels == [LABELS.index(row["label"]) for row in rows]
        assert read.tokens == sum(map(len, read.ids))

    def test_long_texts_keep_their_beginning(self, corpus: Path, tokenizer: Tokenizer) -> None:
        """The special token at the end stays at the end."""
        whole = Examples.read(corpus, "train", tokenizer, LABELS, 40)
        short = Examples.read(corpus, "train", tokenizer, LABELS, 6)

        assert {len(ids) for ids in short.ids} == {6}
        assert [ids[:5] for ids in short.ids] == [ids[:5] for ids in whole.ids]
        assert {ids[-1] for ids in short.ids} == {tokenizer.token_to_id("[SEP]")}

    def test_a_tokenizer_that_pads_is_told_not_to(self, corpus: Path, tokenizer: Tokenizer) -> None:
        """Published tokenizers often pad to a fixed length; padding must never be taken for text."""
        plain = Examples.read(corpus, "train", tokenizer, LABELS, 40)
        tokenizer.enable_padding(length=40)

        assert Examples.read(corpus, "train", tokenizer, LABELS, 40).ids == plain.ids

    def test_an_empty_split_is_named(self, corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
        """There is nothing to choose the best weights by."""
        broken = copy(corpus, tmp_path)
        (broken / "validation.jsonl").write_bytes(b"")

        with pytest.raises(InvalidInputError, match="'validation' has no texts") as caught:
            Examples.read(broken, "validation", tokenizer, LABELS, 40)

        assert caught.value.code == "corpus_empty"

    def test_a_label_that_the_corpus_does_not_list_is_named(
        self, corpus: Path, tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        """A corpus folder that contradicts itself is refused before any training."""
        broken = copy(corpus, tmp_path)
        with (broken / "train.jsonl").open("ab") as file:
            file.write('{"text": "还行。", "label": "未知"}\n'.encode())

        with pytest.raises(InvalidInputError, match="未知") as caught:
            Examples.read(broken, "train", tokenizer, LABELS, 40)

        assert caught.value.code == "corpus_version_invalid"


class TestLabels:
    def test_are_those_of_the_corpus_in_its_order(self, corpus: Path) -> None:
        """The order fixes which output of the model means what."""
        assert labels_of(corpus) == LABELS

    def test_running_text_has_none(self, tmp_path: Path) -> None:
        """What can be pretrained on cannot be fine-tuned on."""
        source = tmp_path / "news.txt"
        source.write_text("\n".join(text for text, _ in reviews()), encoding="utf-8")
        import_corpus(file_source(source), tmp_path / "news", name="news", reporter=SilentReporter())

        with pytest.raises(InvalidInputError, match="running text") as caught:
            labels_of(tmp_path / "news")

        assert caught.value.code == "corpus_not_labelled"

    def test_one_label_is_nothing_to_tell_apart(self, corpus: Path, tmp_path: Path) -> None:
        """The import refuses such a corpus; so does training, whoever wrote the folder."""
        broken = copy(corpus, tmp_path)
        manifest = json.loads((broken / "corpus.json").read_bytes())
        (broken / "corpus.json").write_text(json.dumps({**manifest, "labels": ["正面"]}), encoding="utf-8")

        with pytest.raises(InvalidInputError) as caught:
            labels_of(broken)

        assert caught.value.code == "corpus_single_label"


class TestCollate:
    def test_pads_and_says_where(self) -> None:
        """The mask is one exactly where there is text."""
        ids, mask, labels = collate(Examples([[1, 2, 3], [4]], [1, 0]), [0, 1], 9)

        assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
        assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
        assert labels.tolist() == [1, 0]


def copy(corpus: Path, folder: Path) -> Path:
    return Path(shutil.copytree(corpus, folder / "broken"))
