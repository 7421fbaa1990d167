from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.tiny_model import build_servable

from hanlin.domain import InvalidInputError, NotFoundError, TooLargeError
from hanlin.engines import TextEncoder

CLS, SEP, UNKNOWN = 2, 3, 1
LIMIT = 16


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    """The encoder of a model that takes 16 tokens."""
    return TextEncoder(build_servable(tmp_path_factory.mktemp("model") / "v1", max_length=LIMIT))


class TestTextEncoder:
    def test_gives_one_row_per_text_in_order(self, encoder: TextEncoder) -> None:
        """Each text becomes its tokens between the special ones, whatever else is encoded with it."""
        texts = ["好", "坏 坏", "这个很好"]

        rows = encoder.encode(texts)

        assert rows == [encoder.encode([text])[0] for text in texts]
        assert all(row[0] == CLS and row[-1] == SEP for row in rows)
        assert [len(row) for row in rows] == [3, 4, 6]

    def test_no_texts_are_no_rows(self, encoder: TextEncoder) -> None:
        """An empty list is an empty list."""
        assert encoder.encode([]) == []

    @pytest.mark.parametrize("text", ["", "   ", "\n\t"])
    def test_an_empty_text_has_its_special_tokens(self, encoder: TextEncoder, text: str) -> None:
        """A text without words is a row all the same."""
        assert encoder.encode([text]) == [[CLS, SEP]]

    @pytest.mark.parametrize("text", ["\x00", "\u202e好", "😀", "\ufeff好", "𠮷", "e\u0301"])
    def test_any_character_has_a_token(self, encoder: TextEncoder, text: str) -> None:
        """Characters that the vocabulary lacks are the unknown token, never an error."""
        row = encoder.encode([text])[0]

        assert len(row) > 2
        assert UNKNOWN in row

    def test_a_text_that_just_fits_is_taken(self, encoder: TextEncoder) -> None:
        """The limit counts the special tokens, and a text of exactly that many tokens fits."""
        assert [len(row) for row in encoder.encode(["好" * (LIMIT - 2)])] == [LIMIT]

    def test_a_text_too_long_says_limit_and_size(self, encoder: TextEncoder) -> None:
        """One token past the limit is refused (``text_too_long``): which text, how long it is, how long it may be."""
        with pytest.raises(TooLargeError) as caught:
            encoder.encode(["好", "好" * (LIMIT - 1)])

        error = caught.value
        assert (error.code, error.param) == ("text_too_long", "input")
        assert error.message == f"text 1 has {LIMIT + 1} tokens, the model takes {LIMIT}"
        assert '"truncate": true' in error.hint

    def test_truncating_keeps_the_beginning(self, encoder: TextEncoder) -> None:
        """A text past the limit keeps its first tokens and its special ones; those that fit are left alone."""
        short, long = "很好", "好" * 13 + "坏" * 1000

        rows = encoder.encode([short, long], truncate=True)

        assert rows[0] == encoder.encode([short])[0]
        assert rows[1] == encoder.encode(["好" * 13 + "坏"])[0]

    def test_a_huge_text_is_refused_all_the_same(self, encoder: TextEncoder) -> None:
        """Hundreds of thousands of characters are counted, refused, or cut like any other."""
        huge = "好" * 200_000

        with pytest.raises(TooLargeError, match="200002 tokens"):
            encoder.encode([huge])
        assert len(encoder.encode([huge], truncate=True)[0]) == LIMIT

    def test_threads_may_share_it(self, encoder: TextEncoder) -> None:
        """Long and short texts from several threads at once come out as from one."""
        texts = ["好" * length for length in range(40)]
        alone = [encoder.encode([text], truncate=True) for text in texts]

        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda text: encoder.encode([text], truncate=True), texts * 20))

        assert together == alone * 20

    @pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"version": "1.0", "model": null}'])
    def test_a_broken_tokenizer_is_refused(self, tmp_path: Path, damage: bytes) -> None:
        """A tokenizer that cannot be read is named (``servable_invalid``)."""
        folder = build_servable(tmp_path / "model")
        (folder / "tokenizer.json").write_bytes(damage)

        with pytest.raises(InvalidInputError, match=r"tokenizer\.json") as caught:
            TextEncoder(folder)

        assert caught.value.code == "servable_invalid"

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """No folder: the error names what is missing in it (``servable_incomplete``)."""
        with pytest.raises(NotFoundError) as caught:
            TextEncoder(tmp_path / "nowhere")

        assert caught.value.code == "servable_incomplete"
