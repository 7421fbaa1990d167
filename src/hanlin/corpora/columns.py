"""Which column is the text, which the label: as told, else by the names that people use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hanlin.corpora.rows import Row
from hanlin.domain import InvalidInputError

TEXT_NAMES = ("text", "content", "sentence", "review", "comment", "文本", "内容", "正文", "句子", "评论")
LABEL_NAMES = ("label", "category", "class", "标签", "类别", "分类")
SPLIT_NAMES = ("split",)
SPLIT_VALUES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the columns to read; None leaves the choice to their usual names. Columns without a header are 1, 2 …"""

    text: str | None = None
    label: str | None = None
    split: str | None = None


USUAL = Columns()


def is_header(cells: Sequence[str], wanted: Columns) -> bool:
    """Return whether the first line of a table names its columns."""
    named = {name.lower() for name in (wanted.text, wanted.label, wanted.split) if name and not name.isdigit()}
    return bool({_plain(cell) for cell in cells} & named.union(TEXT_NAMES, LABEL_NAMES))


def choose_columns(wanted: Columns, found: Sequence[str], *, is_labelled: bool | None) -> Columns:
    """
    Return the columns of *found* to read: those that are *wanted*, else those with a usual name.

    Without *is_labelled* a label column is taken when there is one. Raises ``corpus_text_column_missing`` and
    ``corpus_label_column_missing``.
    """
    text = _pick("text", wanted.text, TEXT_NAMES, found)
    label = None if is_labelled is False else _pick("label", wanted.label, LABEL_NAMES, found)
    split = _pick("split", wanted.split, SPLIT_NAMES, found)
    if text is None and len(found) == 1:
        text = found[0]
    if text is None:
        raise _missing("text", TEXT_NAMES, found)
    if label is None and is_labelled:
        raise _missing("label", LABEL_NAMES, found)
    return Columns(text=text, label=label, split=split)


def row_of(record: Mapping[str, object], columns: Columns, line: int) -> Row:
    """Return the row in *record*, which stood in *line*; raise ``corpus_row_malformed`` when a part is missing."""
    text = record.get(columns.text or "")
    if not isinstance(text, str):
        raise malformed(line, f"has no text in {columns.text!r}")
    return Row(text.strip(), _label(record, columns, line), _split(record, columns, line))


def malformed(line: int, what: str) -> InvalidInputError:
    """Return the error for a line that is not what the format asks for."""
    return InvalidInputError(
        f"line {line:,} {what}", code="corpus_row_malformed", hint="correct that line; nothing was imported"
    )


def _label(record: Mapping[str, object], columns: Columns, line: int) -> str | None:
    if columns.label is None:
        return None
    value = record.get(columns.label)
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise malformed(line, f"has no single label in {columns.label!r}")


def _split(record: Mapping[str, object], columns: Columns, line: int) -> str | None:
    if columns.split is None:
        return None
    value = record.get(columns.split)
    if isinstance(value, str) and value.strip().lower() in SPLIT_VALUES:
        return SPLIT_VALUES[value.strip().lower()]
    raise malformed(line, f"has {value!r} in {columns.split!r}, which is none of {', '.join(SPLIT_VALUES)}")


def _plain(name: str) -> str:
    return name.strip().lower()


def _pick(what: str, wanted: str | None, usual: Sequence[str], found: Sequence[str]) -> str | None:
    by_name = {_plain(name): name for name in reversed(found)}
    if wanted is not None and _plain(wanted) not in by_name:
        raise _missing(what, [wanted], found)
    names = usual if wanted is None else [_plain(wanted)]
    return next((by_name[name] for name in names if name in by_name), None)


def _missing(what: str, expected: Sequence[str], found: Sequence[str]) -> InvalidInputError:
    shown = ", ".join(name[:40] for name in found[:12])
    return InvalidInputError(
        f"there is no {what} column ({', '.join(expected)}); the columns are {shown}",
        code=f"corpus_{what}_column_missing",
        hint=f"name the {what} column, or rename it to {expected[0]}",
        param=f"{what}_column",
    )
