"""Uploads, corpora and bases."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import sys
from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter, Query, Request

from hanlin.control.routes.access import Builder, Parts, Reader
from hanlin.domain import CorpusVersion, InvalidInputError, NotFoundError, StorageFullError, TooLargeError, new_id
from hanlin.wire.admin import BaseReply, CorpusReply, Listed, UploadReply

router = APIRouter(tags=["corpora"])
ENDING_LIMIT = 20
SPLITS = ("train", "validation", "test", "text")


@router.post("/uploads", status_code=201, max_body_size=sys.maxsize)  # the setting counts, below
async def upload(request: Request, filename: str, parts: Parts, _: Builder) -> UploadReply:
    """Receive a file for an import task; the body is the file."""
    suffixes = "".join(PurePosixPath(filename.replace("\\", "/")).suffixes[-2:])
    if not suffixes.replace(".", "").isalnum() or len(suffixes) > ENDING_LIMIT:
        raise InvalidInputError(
            f"the file name {filename!r} has no usable ending",
            code="corpus_format_unknown",
            hint="end it in .txt, .csv or .jsonl, with .gz if compressed",
            param="filename",
        )
    name = new_id("upload") + suffixes
    path, size, digest = parts.layout.uploads / name, 0, hashlib.sha256()
    try:
        with path.open("xb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                _check_size(size, parts.settings.control.max_upload_bytes)
                digest.update(chunk)
                file.write(chunk)
    except (TooLargeError, OSError) as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            hint = "free space, then send it again"
            raise StorageFullError(f"no room after {size:,} bytes of the upload", hint=hint) from error
        raise
    return UploadReply(upload=name, filename=filename, size_bytes=size, sha256=digest.hexdigest())


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLargeError(f"the upload has more than {limit:,} bytes", code="upload_too_large", hint="split the file")


@router.get("/corpora")
def list_corpora(parts: Parts, _: Reader) -> Listed[CorpusReply]:
    """List corpora with their newest versions."""
    groups = itertools.groupby(parts.store.corpora.iter(), key=lambda version: version.corpus)
    versions = [list(group) for _, group in groups]
    return Listed(data=[CorpusReply(name=v[-1].corpus, versions=len(v), latest=v[-1]) for v in versions])


@router.get("/corpora/{name}/versions/{number}")
def get_corpus(name: str, number: int, parts: Parts, _: Reader) -> CorpusVersion:
    """Show one version of a corpus with its profile."""
    return parts.store.corpora.get(name, number)


@router.get("/corpora/{name}/versions/{number}/rows")
def list_rows(
    name: str, number: int, parts: Parts, _: Reader, split: str = "train", limit: int = Query(20, ge=1, le=200)
) -> Listed[dict[str, Any]]:
    """Read the first rows of a split."""
    folder = parts.artifacts.path(parts.store.corpora.get(name, number).digest)
    path = folder / f"{split}.jsonl"
    if split not in SPLITS or not path.is_file():
        found = ", ".join(s for s in SPLITS if (folder / f"{s}.jsonl").is_file())
        raise NotFoundError(f"{name}@{number} has no split {split!r}", code="split_not_found", hint=f"it has {found}")
    with path.open(encoding="utf-8") as lines:
        return Listed(data=[json.loads(line) for line in itertools.islice(lines, limit)])


@router.get("/bases")
def list_bases(parts: Parts, _: Reader) -> Listed[BaseReply]:
    """List base models: what can be pulled and what is there."""
    return Listed(data=list(parts.bases()))
