"""From text to token ids, exactly as the model was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from hanlin.domain import InvalidInputError, TooLargeError
from hanlin.engines.servable import TOKENIZER, read_servable


class TextEncoder:
    """The tokenizer of one servable folder. Never changed after loading, so threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Load; raise NotFoundError or InvalidInputError that says what is wrong with the folder."""
        self.info = read_servable(folder)
        self._tokenizer = _load(folder / TOKENIZER)
        self._room = self.info.max_length - self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def encode(self, texts: Sequence[str], *, truncate: bool = False) -> list[list[int]]:
        """
        Return the token ids of each text, special tokens included.

        A text past the model's length raises TooLargeError (``text_too_long``) that says the limit and what came,
        unless *truncate* is true, which keeps its beginning.
        """
        limit = self.info.max_length
        rows: list[list[int]] = []
        for index, encoded in enumerate(self._tokenizer.encode_batch_fast(list(texts))):
            ids = encoded.ids
            if len(ids) > limit:
                if not truncate:
                    raise _too_long(index, len(ids), limit)
                ids = self._beginning(texts[index]).ids
            rows.append(ids)
        return rows

    def _beginning(self, text: str) -> Encoding:
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        encoded.truncate(self._room)
        return self._tokenizer.post_process(encoded)


def _load(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InvalidInputError(f"{TOKENIZER} of the model cannot be read: {error}", code="servable_invalid") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _too_long(index: int, found: int, limit: int) -> TooLargeError:
    return TooLargeError(
        f"text {index} has {found} tokens, the model takes {limit}",
        code="text_too_long",
        hint='shorten it, or send "truncate": true to have its beginning judged',
        param="input",
    )
