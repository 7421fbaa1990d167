"""From scratch: a tokenizer and a small encoder made of nothing but text."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_bert import build_corpus, reviews
from tests.training.test_checkpoints import room_for
from tokenizers import Tokenizer

from hanlin.corpora import file_source, import_corpus
from hanlin.domain import SilentReporter, StorageFullError
from hanlin.training import Recipe, finetune, pretrain
from hanlin.training.scratch import (
    BLOCK,
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL,
    Guessing,
    _blocks,
    _masked,
    build_model,
    train_tokenizer,
)

RECIPE = Recipe.of(
    {
        "pretraining_s": 5,
        "vocabulary_size": 500,
        "hidden_size": 24,
        "layers": 2,
        "threads": 1,
        "precision": "fp32",
        "device": "cpu",
    }
)
TEXTS = tuple(text for text, _ in reviews())
CHARACTERS = tuple(map(chr, range(0x4E00, 0x4E00 + 900)))


class TestTrainTokenizer:
    def test_spells_chinese_by_characters(self, tmp_path: Path) -> None:
        """Every character of the texts is a piece of its own; letters and digits form words."""
        train_tokenizer(["前台很好。", "Hello 2024"] * 20, 500, tmp_path)
        tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

        assert tokenizer.encode("前台好，HELLO").tokens == ["[CLS]", "前", "台", "好", "[UNK]", "hello", "[SEP]"]
        assert [tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3, 4]

    def test_the_same_texts_give_the_same_tokenizer(self, tmp_path: Path) -> None:
        """Nothing in it depends on chance."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            train_tokenizer(rare_and_common(), 500, tmp_path / name)

        assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (tmp_path / "two" / "tokenizer.json").read_bytes()

    def test_never_has_more_pieces_than_asked_for(self, tmp_path: Path) -> None:
        """Where the characters alone are more, the rarest are unknown and the common ones are not."""
        tokenizer = train_tokenizer(rare_and_common(), 500, tmp_path)
        counts = Counter(character for text in rare_and_common() for character in text)
        known = {character for character in counts if tokenizer.token_to_id(character) is not None}

        assert tokenizer.get_vocab_size() <= 500
        assert len(known) > 490
        assert min(counts[c] for c in known) >= max(counts[c] for c in counts.keys() - known)

    def test_counts_the_insides_of_words_too(self, tmp_path: Path) -> None:
        """A letter within a word is a second piece (##a); those count as well."""
        alphabet = [chr(0x0400 + number) for number in range(0x30, 0x60)] + [chr(0x10D0 + n) for n in range(30)]
        words = ["".join(alphabet[(start + step) % 78] for step in range(9)) for start in range(78)] + list(CHARACTERS)

        assert train_tokenizer(words * 2, 500, tmp_path).get_vocab_size() <= 500


class TestBlocks:
    def test_are_the_texts_end_to_end(self, tmp_path: Path) -> None:
        """Rows of one length, each from its beginning, with an end behind each text and hardly any padding."""
        tokenizer = train_tokenizer(TEXTS, 500, tmp_path)
        blocks = _blocks(tokenizer, TEXTS)
        flat = blocks[:, 1:].ravel()
        ids = [id_ for text in TEXTS for id_ in [*tokenizer.encode(text, add_special_tokens=False).ids, SEP]]

        assert blocks.shape[1] == BLOCK
        assert set(blocks[:, 0]) == {CLS}
        assert flat.tolist() == ids[: len(flat)]
        assert len(ids) - len(flat) < BLOCK

    def test_less_than_a_row_is_padded(self, tmp_path: Path) -> None:
        """One short text is enough to begin with."""
        tokenizer = train_tokenizer(TEXTS, 500, tmp_path)
        blocks = _blocks(tokenizer, ["前台很好"])

        assert blocks.shape == (1, BLOCK)
        assert (blocks[0, 6:] == PAD).all()


class TestMasking:
    def test_hides_what_has_to_be_guessed(self) -> None:
        """15 % of the words are asked for: most hidden, some replaced, some left; nothing else is asked for."""
        rows = np.random.default_rng(1).integers(0, 200, (400, BLOCK))
        ids, targets = (tensor.numpy() for tensor in _masked(rows, np.random.default_rng(2), 200))
        asked = targets != -100

        assert (targets[asked] == rows[asked]).all()
        assert (ids[~asked] == rows[~asked]).all()
        assert rows[asked].min() > MASK
        assert ids[asked].min() >= MASK
        assert asked[rows > MASK].mean() == pytest.approx(0.15, abs=0.01)
        assert (ids[asked] == MASK).mean() == pytest.approx(0.8, abs=0.02)
        assert (ids[asked] == rows[asked]).mean() == pytest.approx(0.1, abs=0.02)


class TestGuessing:
    def test_learns_which_words_go_together(self, tmp_path: Path) -> None:
        """Within a hundred steps it guesses clearly better than blindly."""
        blocks = _blocks(train_tokenizer(TEXTS, 500, tmp_path), TEXTS)
        recipe = replace(RECIPE, hidden_size=96, layers=1)
        torch.manual_seed(1)
        torch.set_num_threads(1)
        guessing = Guessing(build_model(recipe, 120), blocks, recipe)
        losses = [guessing.step(number, 0.0) for number in range(100)]

        assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5

    def test_learns_nothing_at_the_end_of_its_time(self, tmp_path: Path) -> None:
        """The rate falls to zero with the time."""
        blocks = _blocks(train_tokenizer(TEXTS, 500, tmp_path), TEXTS)
        model = build_model(RECIPE, 120)
        before = model.get_input_embeddings().weight.detach().clone()
        Guessing(model, blocks, RECIPE).step(99, 1.0)

        assert torch.equal(model.get_input_embeddings().weight, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora, and the base pretrained on them."""
    folder = tmp_path_factory.mktemp("scratch")
    build_corpus(folder / "reviews")
    (folder / "news.txt").write_text("\n".join(text for text, _ in reviews(("中性",))), encoding="utf-8")
    import_corpus(
        file_source(folder / "news.txt"), folder / "news", name="news", licence="CC-BY", reporter=SilentReporter()
    )
    pretrain(RECIPE, [folder / "reviews", folder / "news"], folder / "base", folder / "work", SilentReporter())
    return folder


class TestPretrain:
    def test_makes_a_base_to_fine_tune(self, place: Path, tmp_path: Path) -> None:
        """What comes out goes in: an encoder of the size asked for, with its tokenizer."""
        recipe = Recipe.of({**RECIPE.as_dict(), "epochs": 0.2})
        result = finetune(
            recipe, place / "base", place / "reviews", tmp_path / "out", tmp_path / "run", SilentReporter()
        )
        config = json.loads((place / "base" / "config.json").read_bytes())

        assert (config["hidden_size"], config["num_hidden_layers"], config["pad_token_id"]) == (24, 2, PAD)
        assert result.recipe.max_length == 64
        assert result.max_length == 128

    def test_says_what_it_was_made_of(self, place: Path) -> None:
        """Sources and licences of all corpora go on with the base."""
        card = json.loads((place / "base" / "base.json").read_bytes())

        assert card["source"] == "reviews (reviews.csv) + news (news.txt)"
        assert card["licence"] == "CC-BY + CC0"
        assert card["facts"]["steps"] > 0

    def test_a_finished_base_is_taken_as_it_is(self, place: Path) -> None:
        """A resumed run does not pretrain again."""
        before = (place / "base" / "model.safetensors").stat()
        pretrain(RECIPE, [place / "reviews"], place / "base", place / "work", SilentReporter())

        assert (place / "base" / "model.safetensors").stat() == before

    def test_without_room_there_is_no_base(self, place: Path, tmp_path: Path) -> None:
        """The folder appears whole or not at all, and the reason has its code."""
        with room_for(10_000), pytest.raises(StorageFullError):
            pretrain(RECIPE, [place / "reviews"], tmp_path / "base", tmp_path / "work", SilentReporter())

        assert not (tmp_path / "base").exists()


def rare_and_common() -> list[str]:
    """Return texts of 900 characters, each as often as its place in the alphabet says."""
    return ["".join(CHARACTERS[number:]) for number in range(0, 900, 9)]
