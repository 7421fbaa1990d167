"""From bytes to lines: which encoding a file has, and exactly where it breaks."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from hanlin.corpora.files import OnRead, iter_chunks
from hanlin.domain import InvalidInputError

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030", "gbk", "gb2312", "big5", "big5hkscs")
LONGEST_LINE = 16 << 20
PLAUSIBLE = 0.8  # of the non-ASCII characters: 0.97 and more in GBK text, 0.2 to 0.5 in UTF-8 or Big5 read as GBK
HINT = f"save the file as UTF-8, or name its encoding: {', '.join(ENCODINGS)}"


def detect_encoding(path: Path) -> str:
    """
    Return the encoding of the whole file: by its byte order mark, else UTF-8 if it is, else GB 18030 if it is.

    Any bytes may pass as GB 18030, so its text must also look Chinese: four fifths of what is not ASCII in GB 2312.
    Raises ``corpus_encoding_unknown`` with the offset of the first byte that is not UTF-8.
    """
    head = next(iter_chunks(path), b"")
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    try:
        for text in _decoded(path, "utf-8"):
            if (at := text.find("\0")) >= 0:
                raise _unknown(f"{path.name} holds a zero character ({at:,} characters into a block): it is no text")
    except UnicodeDecodeError as error:
        if _is_plausible_chinese(path):
            return "gb18030"
        raise _unknown(f"{path.name} is neither UTF-8 nor GB 18030: {_at(error)} is not UTF-8") from error
    return "utf-8"


def check_encoding(name: str) -> str:
    """Return the canonical name of an encoding that somebody asked for, or raise ``corpus_encoding_unknown``."""
    try:
        found = codecs.lookup(name).name
    except LookupError:
        found = ""
    if found not in ENCODINGS:
        raise _unknown(f"{name!r} is not an encoding that can be read")
    return found


def iter_lines(path: Path, encoding: str, on_read: OnRead | None = None) -> Iterator[str]:
    r"""
    Yield the lines of *path* without their line feed; only ``\n`` ends a line, as U+2028 and others are text.

    Raises ``corpus_encoding_unknown`` with the byte offset where *encoding* does not fit, and
    ``corpus_row_malformed`` for a line of more than 16 million characters.
    """
    rest, number = "", 0
    try:
        for text in _decoded(path, encoding, on_read):
            *lines, rest = (rest + text).split("\n")
            yield from lines
            number += len(lines)
            if len(rest) > LONGEST_LINE:
                raise InvalidInputError(
                    f"line {number + 1} of {path.name} is longer than {LONGEST_LINE:,} characters",
                    code="corpus_row_malformed",
                    hint="one text per line; is this a text file?",
                )
    except UnicodeDecodeError as error:
        raise _unknown(f"{path.name} is not {encoding}: {_at(error)} cannot be read") from error
    if rest:
        yield rest


def _decoded(path: Path, encoding: str, on_read: OnRead | None = None) -> Iterator[str]:
    """Yield text; a UnicodeDecodeError carries its offset in the file as ``start``."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    fed, is_first = 0, True
    try:
        for chunk in iter_chunks(path, on_read):
            fed += len(chunk)
            text = decoder.decode(chunk)
            yield text.removeprefix("\ufeff") if is_first else text
            is_first = False
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        bad = error.object[error.start : error.start + 1]
        start = fed - len(error.object) + error.start
        raise UnicodeDecodeError(encoding, bad, start, start + 1, error.reason) from error


def _is_plausible_chinese(path: Path) -> bool:
    foreign = chinese = 0
    try:
        for text in _decoded(path, "gb18030"):
            if "\0" in text:
                return False
            wide = "".join(c for c in text[:100_000] if not c.isascii())
            foreign += len(wide)
            chinese += len(wide.encode("gb2312", "ignore")) // 2
    except UnicodeDecodeError:
        return False
    return chinese >= PLAUSIBLE * foreign


def _at(error: UnicodeDecodeError) -> str:
    return f"byte {error.start:,} (0x{error.object.hex() or '--'})"


def _unknown(message: str) -> InvalidInputError:
    return InvalidInputError(message, code="corpus_encoding_unknown", hint=HINT)
