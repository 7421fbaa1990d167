"""The conformance suite of engines: every kind in ENGINES passes all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.tiny_model import POISON, build_servable

from hanlin.domain import InternalError, InvalidInputError, NotFoundError
from hanlin.engines import ENGINES, Engine, TextEncoder, create_engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two classes."""
    return build_servable(tmp_path_factory.mktemp("engines") / "two")


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    """An engine with that model loaded."""
    engine = create_engine(request.param)
    engine.load(folder, threads=1, device="cpu")
    yield engine
    engine.unload()


@pytest.fixture(params=sorted(ENGINES))
def empty(request: pytest.FixtureRequest) -> Engine:
    """An engine with nothing loaded."""
    return create_engine(request.param)


class TestRun:
    def test_gives_a_row_of_logits_per_text(self, engine: Engine, folder: Path) -> None:
        """Good words speak for the last label, bad ones for the first, in the order they were given."""
        rows = TextEncoder(folder).encode(["这个很好", "真烂", "好赞喜爱", "a"])

        logits = engine.run(rows)

        assert (logits.shape, logits.dtype) == ((4, 2), np.float32)
        assert logits[:3].argmax(axis=1).tolist() == [1, 0, 1]

    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=16))
    def test_gives_the_same_for_a_text_in_any_company(self, engine: Engine, lengths: list[int]) -> None:
        """However ragged a batch is, each text gets what it gets alone."""
        rows = [[2, *[4 + (3 * index + i) % 40 for i in range(length)], 3] for index, length in enumerate(lengths)]

        together = engine.run(rows)

        alone = np.concatenate([engine.run([row]) for row in rows])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("labels", [("only",), ("a", "b", "c"), tuple(f"l{i}" for i in range(100))])
    def test_serves_any_number_of_labels(self, empty: Engine, tmp_path: Path, labels: tuple[str, ...]) -> None:
        """One label, three, a hundred: as many columns."""
        empty.load(build_servable(tmp_path, labels=labels), threads=1, device="cpu")

        assert empty.run([[2, 5, 3], [2, 3]]).shape == (2, len(labels))
        assert empty.describe().labels == labels

    def test_takes_texts_as_long_as_the_model_allows(self, empty: Engine, tmp_path: Path) -> None:
        """A model of 512 tokens is given 512 tokens, beside a text of one."""
        empty.load(build_servable(tmp_path, max_length=512), threads=1, device="cpu")

        assert empty.run([[2, *[4] * 510, 3], [4]]).shape == (2, 2)

    def test_raises_rather_than_give_nonsense(self, engine: Engine, folder: Path) -> None:
        """Not-a-number is an error of the batch, and the next batch is fine."""
        encoder = TextEncoder(folder)

        with pytest.raises(InternalError) as raised:
            engine.run(encoder.encode(["好", POISON]))

        assert raised.value.code == "engine_output_invalid"
        assert np.isfinite(engine.run(encoder.encode(["好"]))).all()

    def test_raises_for_tokens_the_model_does_not_know(self, engine: Engine) -> None:
        """An id past the vocabulary is an error of the batch, never a crash."""
        with pytest.raises(InternalError) as raised:
            engine.run([[1_000_000]])

        assert raised.value.code == "engine_failed"


class TestLoad:
    def test_says_what_is_loaded(self, engine: Engine, folder: Path) -> None:
        """The description holds what the card and the file say."""
        info = engine.describe()

        assert (info.engine in ENGINES, info.precision, info.max_length) == (True, "fp32", 64)
        assert (info.labels, info.device, info.threads) == (("负面", "正面"), "cpu", 1)
        assert info.size_bytes == (folder / "model.onnx").stat().st_size

    @pytest.mark.parametrize("name", ["hanlin.json", "model.onnx", "tokenizer.json"])
    def test_names_the_file_that_is_missing(self, empty: Engine, tmp_path: Path, name: str) -> None:
        """An incomplete folder is refused by the name of what it lacks."""
        (build_servable(tmp_path) / name).unlink()

        with pytest.raises(NotFoundError, match=name) as raised:
            empty.load(tmp_path, threads=1, device="cpu")

        assert raised.value.code == "servable_incomplete"

    @pytest.mark.parametrize("body", [b"", b"no model at all", b"\x80\x04cposix\nsystem\n.", None])
    def test_refuses_weights_that_are_broken(self, empty: Engine, tmp_path: Path, body: bytes | None) -> None:
        """Weights that are cut, foreign or a pickle are refused, and nothing of them runs."""
        weights = build_servable(tmp_path) / "model.onnx"
        whole = weights.read_bytes()
        weights.write_bytes(whole[: len(whole) // 2] if body is None else body)

        with pytest.raises(InvalidInputError, match="model.onnx") as raised:
            empty.load(tmp_path, threads=1, device="cpu")

        assert raised.value.code == "servable_invalid"

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"inputs": ["pixels"]}, "inputs"),
            ({"inputs": []}, "inputs"),
            ({"labels": []}, "labels"),
            ({"labels": "正面"}, "labels"),
            ({"max_length": 0}, "max_length"),
            ({"pad_id": -1}, "pad_id"),
            ({"max_length": None}, "max_length"),
        ],
    )
    def test_refuses_a_card_that_cannot_be(
        self, empty: Engine, tmp_path: Path, change: dict[str, object], says: str
    ) -> None:
        """A card that promises what no engine can do is refused, and the message names the field."""
        card = build_servable(tmp_path) / "hanlin.json"
        card.write_text(json.dumps({**json.loads(card.read_text(encoding="utf-8")), **change}), encoding="utf-8")

        with pytest.raises(InvalidInputError, match=says) as raised:
            empty.load(tmp_path, threads=1, device="cpu")

        assert raised.value.code == "servable_invalid"

    def test_refuses_a_card_that_is_not_of_its_weights(self, empty: Engine, tmp_path: Path) -> None:
        """Three labels on a card whose model gives two are found out when it is warmed up."""
        card = build_servable(tmp_path) / "hanlin.json"
        body = json.loads(card.read_text(encoding="utf-8"))
        card.write_text(json.dumps({**body, "labels": ["a", "b", "c"]}), encoding="utf-8")

        with pytest.raises(InternalError) as raised:
            empty.load(tmp_path, threads=1, device="cpu")

        assert raised.value.code == "engine_output_invalid"

    @pytest.mark.parametrize("device", ["tpu", "", "CPU"])
    def test_refuses_a_device_it_does_not_know(self, empty: Engine, folder: Path, device: str) -> None:
        """The message says which devices there are."""
        with pytest.raises(InvalidInputError) as raised:
            empty.load(folder, threads=1, device=device)

        assert raised.value.code == "device_unavailable"
        assert "cpu" in raised.value.hint

    @pytest.mark.skipif(
        "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has what is asked for"
    )
    def test_refuses_a_gpu_where_there_is_none(self, empty: Engine, folder: Path) -> None:
        """It never falls back silently: what was asked for is not to be had."""
        with pytest.raises(InvalidInputError, match="'cuda'") as raised:
            empty.load(folder, threads=1, device="cuda")

        assert raised.value.code == "device_unavailable"


class TestUnload:
    def test_leaves_an_engine_that_says_so(self, empty: Engine, folder: Path) -> None:
        """Before loading and after unloading there is nothing to run; unloading twice is fine, so is loading again."""
        empty.load(folder, threads=1, device="cpu")
        empty.unload()
        empty.unload()

        for call in (lambda: empty.run([[2, 3]]), empty.describe):
            with pytest.raises(InternalError) as raised:
                call()
            assert raised.value.code == "engine_not_loaded"
        empty.load(folder, threads=1, device="cpu")
        assert empty.run([[2, 3]]).shape == (1, 2)

    def test_an_unknown_kind_of_engine_is_refused(self) -> None:
        """The hint lists the kinds there are."""
        with pytest.raises(InvalidInputError) as raised:
            create_engine("steam")

        assert (raised.value.code, raised.value.hint) == ("engine_unknown", "one of onnx")


class TestEncoder:
    def test_refuses_a_broken_tokenizer(self, tmp_path: Path) -> None:
        """A tokenizer file that is none is refused by name."""
        (build_servable(tmp_path) / "tokenizer.json").write_text("{}", encoding="utf-8")

        with pytest.raises(InvalidInputError, match="tokenizer.json"):
            TextEncoder(tmp_path)

    def test_keeps_the_beginning_of_a_long_text(self, folder: Path) -> None:
        """Truncated text keeps its special tokens and is exactly as long as the model allows."""
        (ids,) = TextEncoder(folder).encode(["好" * 10_000], truncate=True)

        assert (len(ids), ids[0], ids[-1]) == (64, 2, 3)
        assert len(set(ids[1:-1])) == 1

    def test_ignores_padding_and_truncation_of_the_file(self, tmp_path: Path) -> None:
        """A tokenizer that was saved with padding and truncation neither pads nor cuts here."""
        path = build_servable(tmp_path) / "tokenizer.json"
        body = json.loads(path.read_text(encoding="utf-8"))
        body["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
        body["padding"] = {"strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None}
        body["padding"] |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
        path.write_text(json.dumps(body), encoding="utf-8")

        assert [len(row) for row in TextEncoder(tmp_path).encode(["好", "好" * 20])] == [3, 22]
