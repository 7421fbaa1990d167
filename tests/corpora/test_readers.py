"""Files of many kinds become rows; what is wrong with a file is said with its place."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from hanlin.corpora import Columns, Row, read_rows
from hanlin.domain import InvalidInputError, NotFoundError, PlatformError, TooLargeError

Write = Callable[..., Path]


def code_of(path: Path, **options: object) -> str:
    with pytest.raises(PlatformError) as caught:
        list(read_rows(path, **options))  # type: ignore[arg-type]
    assert caught.value.hint
    return caught.value.code


class TestTxt:
    def test_a_line_is_a_text(self, write: Write) -> None:
        """Lines come in order, without the white space around them; Windows line ends do not matter."""
        path = write("a.txt", "花呗怎么还款？\r\n  The claim was rejected. \n\n最后一行")

        assert list(read_rows(path)) == [
            Row("花呗怎么还款？"),
            Row("The claim was rejected."),
            Row(""),
            Row("最后一行"),
        ]

    def test_only_a_line_feed_ends_a_line(self, write: Write) -> None:
        """Characters that Unicode calls line ends are part of the text."""
        assert [row.text for row in read_rows(write("a.txt", "a\u2028b\x85c\n"))] == ["a\u2028b\x85c"]

    def test_has_no_labels(self, write: Write) -> None:
        """Asking a txt file for labels is refused at once."""
        assert code_of(write("a.txt", "x"), is_labelled=True) == "corpus_label_column_missing"


class TestJsonl:
    def test_columns_are_found_by_their_usual_names(self, write: Write) -> None:
        """Text and label are found; numbers and booleans serve as labels."""
        path = write("a.jsonl", '{"id": 1, "Content": "好", "category": 1}\n\n{"Content": "坏", "category": false}\n')

        assert list(read_rows(path)) == [Row("好", "1"), Row("坏", "false")]

    def test_columns_can_be_named(self, write: Write) -> None:
        """Named columns win over usual names."""
        path = write("a.jsonl", '{"text": "no", "q": "怎么投保？", "intent": "投保"}\n')

        assert list(read_rows(path, columns=Columns(text="q", label="intent"))) == [Row("怎么投保？", "投保")]

    def test_a_bare_string_is_a_text(self, write: Write) -> None:
        """JSON Lines of strings need no columns."""
        assert list(read_rows(write("a.jsonl", '"一"\n"二"\n'))) == [Row("一"), Row("二")]

    def test_splits_of_the_owner_are_kept(self, write: Write) -> None:
        """A column named split says where a row belongs; dev means validation."""
        path = write("a.jsonl", '{"text":"a","split":"dev"}\n{"text":"b","split":"TEST"}\n')

        assert [row.split for row in read_rows(path)] == ["validation", "test"]

    @pytest.mark.parametrize(
        "line",
        [
            "{",
            "[1]",
            "{'text': 'a'}",
            '{"label": "x"}',
            '{"text": 3, "label": "x"}',
            '{"text": "a", "label": null}',
            '{"text": "a", "label": ["x", "y"]}',
            '{"text": "a", "label": " "}',
            '{"text": "\\ud800", "label": "x"}',
            "[" * 100_000,
        ],
    )
    def test_a_malformed_line_is_named(self, write: Write, line: str) -> None:
        """A bad row stops the reading with its line number; nothing is guessed."""
        path = write("a.jsonl", '{"text": "a", "label": "x"}\n' + line + "\n")

        with pytest.raises(InvalidInputError, match="line 2 ") as caught:
            list(read_rows(path))

        assert caught.value.code == "corpus_row_malformed"


class TestCsv:
    def test_a_header_is_noticed(self, write: Write) -> None:
        """The first line names the columns when it holds a usual name, in Chinese too."""
        assert list(read_rows(write("a.csv", "编号,内容,类别\n1,服务很好,正面\n"))) == [Row("服务很好", "正面")]

    def test_quotes_commas_and_line_feeds_inside_cells_stay(self, write: Write) -> None:
        """A quoted cell may hold anything."""
        assert list(read_rows(write("a.csv", 'text,label\n"他说""好"",\n然后走了",正面\n'))) == [
            Row('他说"好",\n然后走了', "正面")
        ]

    @pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
    def test_other_delimiters_are_noticed(self, write: Write, delimiter: str) -> None:
        """Tab, semicolon and bar separate as well."""
        assert list(read_rows(write("a.csv", f"label{delimiter}text\n正面{delimiter}很好, 真的\n"))) == [
            Row("很好, 真的", "正面")
        ]

    def test_without_a_header_two_columns_are_told_apart(self, write: Write) -> None:
        """The column with few values that come again and again is the label."""
        lines = [f"{index % 2},第{index}条评论\n" for index in range(40)]

        rows = list(read_rows(write("a.csv", "".join(lines))))

        assert rows[:2] == [Row("第0条评论", "0"), Row("第1条评论", "1")]
        assert len(rows) == 40

    def test_without_a_header_columns_have_numbers(self, write: Write) -> None:
        """Columns count from one."""
        path = write("a.csv", "x,很好,正面\ny,不好,负面\n")

        assert list(read_rows(path, columns=Columns(text="2", label="3"))) == [
            Row("很好", "正面"),
            Row("不好", "负面"),
        ]

    @pytest.mark.parametrize("bad", ["a,b,c\n", "a\n", '"a"b,x\n', '"never closed,x\n'])
    def test_a_malformed_line_is_named(self, write: Write, bad: str) -> None:
        """A missing cell or a stray quote stops the reading with the line where the row begins."""
        path = write("a.csv", 'text,label\n"two\nlines",x\n' + bad)

        with pytest.raises(InvalidInputError, match="line 4 ") as caught:
            list(read_rows(path))

        assert caught.value.code == "corpus_row_malformed"

    def test_missing_columns_are_said_with_those_there_are(self, write: Write) -> None:
        """The message lists what was found, so that the user can name the right column."""
        path = write("a.csv", "问题,label\n怎么还款,还款\n")

        with pytest.raises(InvalidInputError, match="问题, label") as caught:
            list(read_rows(path))

        assert caught.value.code == "corpus_text_column_missing"

    def test_a_named_label_column_must_be_there(self, write: Write) -> None:
        """A wrong name is an error, not a corpus without labels."""
        path = write("a.csv", "text,label\na,b\n")

        assert code_of(path, columns=Columns(label="intent")) == "corpus_label_column_missing"

    def test_an_empty_file_has_no_rows(self, write: Write) -> None:
        """Nothing in, nothing out."""
        assert list(read_rows(write("a.csv", ""))) == []


class TestFiles:
    def test_gzip_is_noticed_by_content(self, write: Write) -> None:
        """A compressed file is read whatever its name says."""
        packed = gzip.compress('{"text": "压缩"}\n'.encode())

        assert list(read_rows(write("a.jsonl.gz", packed))) == [Row("压缩")]
        assert list(read_rows(write("b.jsonl", packed))) == [Row("压缩")]

    def test_a_missing_file_is_said(self, tmp_path: Path) -> None:
        """The error comes at once, not at the first row."""
        with pytest.raises(NotFoundError, match=r"there is no file .*nowhere\.txt") as caught:
            read_rows(tmp_path / "nowhere.txt")

        assert caught.value.code == "corpus_file_missing"

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        """Folders and devices are not read."""
        assert code_of(tmp_path) == "corpus_file_unreadable"
        assert code_of(Path("/dev/zero"), format="txt") == "corpus_file_unreadable"

    @pytest.mark.parametrize("name", ["a.xlsx", "a", "a.json", "a.gz"])
    def test_an_unknown_format_is_refused(self, write: Write, name: str) -> None:
        """The ending decides, and the hint says which endings there are."""
        assert code_of(write(name, "x")) == "corpus_format_unknown"
        assert code_of(write(name, "x"), format="xml") == "corpus_format_unknown"

    @pytest.mark.parametrize("keep", [12, -4])
    def test_a_damaged_gzip_file_is_refused(self, write: Write, keep: int) -> None:
        """A truncated copy is noticed."""
        assert code_of(write("a.txt.gz", gzip.compress(b"text " * 1000)[:keep])) == "corpus_file_corrupt"

    def test_a_gzip_bomb_is_refused(self, write: Write) -> None:
        """What unfolds to hundreds of times its size is not unfolded."""
        path = write("a.txt.gz", gzip.compress(b"\n" * (80 << 20), 9))

        with pytest.raises(TooLargeError) as caught:
            sum(1 for _ in read_rows(path))

        assert caught.value.code == "corpus_too_large"
