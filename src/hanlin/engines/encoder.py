"""From text to token ids, exactly as the model was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from hanlin.domain import TooLargeError
from hanlin.engines.servable import TOKENIZER, read_servable


class TextEncoder:
    """The tokenizer of one servable folder. Cheap to call, safe to share."""

    def __init__(self, folder: Path) -> None:
        self.info = read_servable(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str], *, truncate: bool = False) -> list[list[int]]:
        """
        Return the token ids of each text, special tokens included.

        A text past the model's length raises TooLargeError (``text_too_long``) unless *truncate* is true, which keeps
        its beginning.
        """
        limit = self.info.max_length
        if len(texts) == 1:
            encoded = [self._tokenizer.encode(texts[0])]
        else:
            encoded = self._tokenizer.encode_batch_fast(list(texts))
        rows: list[list[int]] = []
        for index, one in enumerate(encoded):
            if len(one.ids) > limit:
                if not truncate:
                    raise TooLargeError(
                        f"text {index} has {len(one.ids)} tokens, the model takes {limit}",
                        code="text_too_long",
                        hint='shorten it, or send "truncate": true to have its beginning judged',
                        param="input",
                    )
                rows.append(self._shortened(texts[index], limit))
            else:
                rows.append(one.ids)
        return rows

    def _shortened(self, text: str, limit: int) -> list[int]:
        self._tokenizer.enable_truncation(limit)
        try:
            return list(self._tokenizer.encode(text).ids)
        finally:
            self._tokenizer.no_truncation()
