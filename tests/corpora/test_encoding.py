"""Encodings are detected over the whole file, and a byte that does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hanlin.corpora import Row, read_rows
from hanlin.corpora.encoding import detect_encoding
from hanlin.domain import InvalidInputError

Write = Callable[..., Path]
TEXT = "这家银行的服务很好，手续费也不高。\n客服态度太差，等了一个小时！\n"


class TestDetectEncoding:
    @pytest.mark.parametrize(
        ("stored", "found"),
        [
            ("utf-8", "utf-8"),
            ("utf-8-sig", "utf-8-sig"),
            ("utf-16", "utf-16"),
            ("utf-32", "utf-32"),
            ("gb18030", "gb18030"),
            ("gb2312", "gb18030"),
        ],
    )
    def test_finds_what_chinese_files_have(self, write: Write, stored: str, found: str) -> None:
        """Text comes out the same whatever it was stored as, and without the byte order mark."""
        path = write("a.txt", TEXT, stored)

        assert detect_encoding(path) == found
        assert [row.text for row in read_rows(path)] == TEXT.splitlines()

    def test_looks_at_the_whole_file(self, write: Write) -> None:
        """A long beginning in ASCII says nothing about what follows."""
        path = write("a.txt", b"plain ascii\n" * 200_000 + TEXT.encode("gb18030"))

        assert detect_encoding(path) == "gb18030"

    def test_a_character_across_two_chunks_is_whole(self, write: Write) -> None:
        """Where a file is cut for reading does not matter."""
        content = b"a" * ((1 << 20) - 1) + "中文".encode()

        assert list(read_rows(write("a.txt", content))) == [Row("a" * ((1 << 20) - 1) + "中文")]

    def test_a_damaged_byte_is_named(self, write: Write) -> None:
        """UTF-8 with one broken byte is not taken for GB 18030; the message says where it breaks."""
        good = TEXT.encode() * 50_000
        path = write("a.txt", good[: 3 << 20] + b"\xff" + good[3 << 20 :])

        with pytest.raises(InvalidInputError, match=r"byte 3,145,7\d\d ") as caught:
            read_rows(path)

        assert caught.value.code == "corpus_encoding_unknown"

    @pytest.mark.parametrize(
        "content",
        [
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
            b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
            "très bien, café crème\n".encode("latin-1"),
            "銀行的服務很好，手續費也不高，謝謝您的幫忙與協助。".encode("big5"),
            "銀行のサービスはとても良いです。".encode("shift_jis"),
        ],
    )
    def test_anything_else_is_refused(self, write: Write, content: bytes) -> None:
        """Pictures, archives and other encodings are not taken for Chinese."""
        with pytest.raises(InvalidInputError) as caught:
            detect_encoding(write("a.txt", content))

        assert caught.value.code == "corpus_encoding_unknown"


class TestNamedEncoding:
    def test_a_named_encoding_is_used(self, write: Write) -> None:
        """What cannot be told from the bytes can be said."""
        path = write("a.txt", "銀行的服務很好".encode("big5"))

        assert list(read_rows(path, encoding="Big5")) == [Row("銀行的服務很好")]

    @pytest.mark.parametrize("name", ["klingon", "rot13", "unicode_escape", "latin-1"])
    def test_an_unknown_name_is_refused(self, write: Write, name: str) -> None:
        """Only encodings of Chinese text can be named; latin-1 would read anything as nonsense."""
        with pytest.raises(InvalidInputError) as caught:
            read_rows(write("a.txt", TEXT), encoding=name)

        assert caught.value.code == "corpus_encoding_unknown"

    @pytest.mark.parametrize(("encoding", "offset"), [("utf-8", "2,400,000"), ("gb18030", "2,400,000")])
    def test_a_wrong_name_breaks_at_a_named_byte(self, write: Write, encoding: str, offset: str) -> None:
        """The offset counts from the start of the file."""
        path = write("a.txt", b"plain ascii\n" * 200_000 + b"\xff\n")

        with pytest.raises(InvalidInputError, match=f"byte {offset} "):
            list(read_rows(path, encoding=encoding))

    def test_a_cut_off_character_at_the_end_is_noticed(self, write: Write) -> None:
        """A truncated file is not shortened silently."""
        path = write("a.txt", "还款".encode()[:-1])

        with pytest.raises(InvalidInputError, match="byte 3 "):
            list(read_rows(path, encoding="utf-8"))
