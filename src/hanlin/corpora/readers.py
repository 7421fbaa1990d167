"""Readers: txt, csv and jsonl files, plain or gzip, as a stream of rows."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from hanlin.corpora.columns import USUAL, Columns, choose_columns, is_header, malformed, row_of
from hanlin.corpora.encoding import check_encoding, detect_encoding, iter_lines
from hanlin.corpora.files import OnRead, check_file
from hanlin.corpora.rows import Row
from hanlin.domain import InvalidInputError

FORMATS = {".txt": "txt", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DELIMITERS = ",\t;|"
SAMPLE_ROWS = 200


def read_rows(
    path: Path,
    format: str | None = None,  # noqa: A002
    *,
    columns: Columns = USUAL,
    is_labelled: bool | None = None,
    encoding: str | None = None,
    on_read: OnRead | None = None,
) -> Iterator[Row]:
    """
    Return the rows of a file in its order, one at a time, whatever its size.

    *format* is ``txt`` (a text per line), ``csv`` (also with tab, semicolon or bar) or ``jsonl``; None goes by the
    file's ending. *encoding* None detects UTF-8, a byte order mark and GB 18030. A header is noticed. Rows without
    text are kept, so that they can be counted. Raises, at once or while iterating, ``corpus_file_missing``,
    ``corpus_format_unknown``, ``corpus_encoding_unknown``, ``corpus_text_column_missing``,
    ``corpus_label_column_missing`` and ``corpus_row_malformed`` with the line.

        for row in read_rows(Path("reviews.csv.gz")):
            print(row.label, row.text)
    """
    check_file(path)
    read = _READERS[format_of(path) if format is None else check_format(format)]
    encoding = detect_encoding(path) if encoding is None else check_encoding(encoding)
    return read(iter_lines(path, encoding, on_read), columns, is_labelled)


def format_of(path: Path) -> str:
    """Return the format that the name of *path* tells, or raise ``corpus_format_unknown``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if suffixes and suffixes[-1] in FORMATS:
        return FORMATS[suffixes[-1]]
    raise _unknown_format(f"the ending of {path.name} is not that of a known format")


def check_format(name: str) -> str:
    """Return *name* if it is a format that can be read, or raise ``corpus_format_unknown``."""
    if name not in _READERS:
        raise _unknown_format(f"{name!r} is not a known format")
    return name


def _unknown_format(message: str) -> InvalidInputError:
    return InvalidInputError(
        message,
        code="corpus_format_unknown",
        hint="end it in .txt, .csv, .tsv or .jsonl (.gz may follow), or name the format",
        param="format",
    )


def _read_txt(lines: Iterator[str], columns: Columns, is_labelled: bool | None) -> Iterator[Row]:
    if columns.label or is_labelled:
        raise InvalidInputError(
            "a txt file has no label column",
            code="corpus_label_column_missing",
            hint="use csv or jsonl for labelled text",
            param="label_column",
        )
    return (Row(line.strip()) for line in lines)


def _read_jsonl(lines: Iterator[str], columns: Columns, is_labelled: bool | None) -> Iterator[Row]:
    chosen: Columns | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = _json_record(line, number)
        chosen = chosen or choose_columns(columns, list(record), is_labelled=is_labelled)
        yield row_of(record, chosen, number)


def _json_record(line: str, number: int) -> Mapping[str, object]:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise malformed(number, f"is not JSON: {error}") from error
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        raise malformed(number, f"is JSON but a {type(value).__name__}, not an object")
    return value


def _read_csv(lines: Iterator[str], columns: Columns, is_labelled: bool | None) -> Iterator[Row]:
    begin = []
    for line in lines:
        begin.append(line)
        if line.strip():
            break
    delimiter = max(DELIMITERS, key="".join(begin).count)
    records = _csv_records(itertools.chain(begin, lines), delimiter)
    sample = list(itertools.islice(records, SAMPLE_ROWS))
    if not sample:
        return
    header, has_header = _header([cells for _, cells in sample], columns)
    chosen = choose_columns(columns, header, is_labelled=is_labelled)
    for number, cells in itertools.islice(itertools.chain(sample, records), int(has_header), None):
        if len(cells) != len(header):
            raise malformed(number, f"has {len(cells)} cells where the first line has {len(header)}")
        yield row_of(dict(zip(header, cells, strict=True)), chosen, number)


def _csv_records(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line.removesuffix("\r") + "\n" for line in lines), delimiter=delimiter, strict=True)
    number = 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise malformed(number, f"is not csv: {error}") from error


def _header(sample: Sequence[Sequence[str]], columns: Columns) -> tuple[list[str], bool]:
    """Return the columns' names and whether the first row holds them; numbers stand in where there are no names."""
    first = list(sample[0])
    if is_header(first, columns):
        return first, True
    numbers = [str(index) for index in range(1, len(first) + 1)]
    if columns.text is None and len(first) == 2 and (label := _label_column(sample)) is not None:
        numbers[label], numbers[1 - label] = "label", "text"
    return numbers, False


def _label_column(sample: Sequence[Sequence[str]]) -> int | None:
    """Return which of two columns without names is the label: few values, each of them again and again."""
    for index in (0, 1):
        values = Counter(cells[index] for cells in sample if len(cells) == 2)
        if len(values) > 1 and values[sample[0][index]] > 1 and len(values) <= len(sample) / 4:
            return index
    return None


_READERS: Mapping[str, Callable[[Iterator[str], Columns, bool | None], Iterator[Row]]] = {
    "txt": _read_txt,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
}
