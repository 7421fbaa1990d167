"""One row of a corpus, and when two texts count as the same."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import NamedTuple

KEY_BYTES = 16


class Row(NamedTuple):
    """One text, its label if it has one, and the split that its owner gave it, if any."""

    text: str
    label: str | None = None
    split: str | None = None


def normalised(text: str) -> str:
    """Return *text* in NFKC with every run of white space as one space: what is compared, never what is stored."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def text_key(text: str) -> bytes:
    """Return what stands for *text* in sets and splits: the first 16 bytes of the SHA-256 of its normalised form."""
    return hashlib.sha256(normalised(text).encode()).digest()[:KEY_BYTES]
