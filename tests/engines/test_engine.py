"""The conformance suite of the engine port: every engine runs it."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from tests.tiny_model import LABELS, POISON, build_servable

from hanlin.domain import InternalError, InvalidInputError, NotFoundError
from hanlin.engines import ENGINES, Engine, TextEncoder, create_engine, read_servable

GOOD_TEXT = "这个很好，赞"
BAD_TEXT = "坏，差，骗人"
TOLERANCE = 1e-5
IN_OPEN = 0x20


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of each kind, with nothing loaded."""
    made = create_engine(request.param)
    yield made
    made.unload()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A servable of two classes."""
    return build_servable(tmp_path / "model")


class TestEngine:
    @pytest.mark.parametrize("count", [2, 3, 15])
    def test_gives_one_score_per_label(self, engine: Engine, tmp_path: Path, count: int) -> None:
        """Whatever number of labels, each text gets a finite float32 score for each of them."""
        labels = [f"标签{number}" for number in range(count)]
        place = build_servable(tmp_path / "model", labels=labels)
        engine.load(place, threads=1, device="cpu")

        logits = engine.run(TextEncoder(place).encode([GOOD_TEXT, BAD_TEXT, "的"]))

        assert logits.shape == (3, count)
        assert logits.dtype == np.float32
        assert logits[0].argmax() == count - 1
        assert logits[1].argmax() == 0

    @pytest.mark.parametrize("lengths", [(1, 64), (2, 3, 5, 8, 13, 21, 34, 55), (64,), (1, 1, 1), (64, 1, 64, 1)])
    def test_a_text_scores_the_same_in_any_company(
        self, engine: Engine, folder: Path, lengths: tuple[int, ...]
    ) -> None:
        """Texts of any lengths may share a batch: each scores as it does alone, within rounding."""
        engine.load(folder, threads=1, device="cpu")
        rows = rows_of(lengths)

        together = engine.run(rows)
        alone = np.concatenate([engine.run([row]) for row in rows])

        np.testing.assert_allclose(together, alone, atol=TOLERANCE)

    def test_order_of_a_batch_is_kept(self, engine: Engine, folder: Path) -> None:
        """Scores come in the order of the texts."""
        engine.load(folder, threads=1, device="cpu")
        rows = rows_of((3, 40, 7, 22))

        np.testing.assert_allclose(engine.run(rows[::-1])[::-1], engine.run(rows), atol=TOLERANCE)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_the_number_of_threads_changes_no_score(self, engine: Engine, folder: Path, threads: int) -> None:
        """One thread or two: the same scores, and the engine says how many it has."""
        engine.load(folder, threads=threads, device="cpu")

        assert engine.describe().threads == threads
        np.testing.assert_allclose(engine.run(rows_of((9, 30))), reference(folder, rows_of((9, 30))), atol=TOLERANCE)

    def test_takes_text_as_long_as_the_model(self, engine: Engine, tmp_path: Path) -> None:
        """A text that fills the model's length to the last token is judged."""
        place = build_servable(tmp_path / "model", max_length=512)
        engine.load(place, threads=1, device="cpu")
        rows = TextEncoder(place).encode(["好" * 510, "坏" * 510])

        logits = engine.run(rows)

        assert [len(row) for row in rows] == [512, 512]
        assert logits.argmax(axis=1).tolist() == [1, 0]

    def test_takes_a_text_without_words(self, engine: Engine, folder: Path) -> None:
        """An empty text has its special tokens, which is enough to score."""
        engine.load(folder, threads=1, device="cpu")

        assert engine.run(TextEncoder(folder).encode([""])).shape == (1, 2)

    def test_runs_models_that_take_token_types(self, engine: Engine, folder: Path) -> None:
        """A model with a third input, token types, is given zeros for it."""
        with_third_input(folder, "token_type_ids")
        engine.load(folder, threads=1, device="cpu")

        assert engine.run(rows_of((4, 9))).shape == (2, 2)

    def test_describes_what_is_loaded(self, engine: Engine, tmp_path: Path) -> None:
        """The description says the labels, length, precision and size of the model that is loaded."""
        place = build_servable(tmp_path / "model", precision="int8", max_length=128)
        engine.load(place, threads=1, device="cpu")

        info = engine.describe()

        assert (info.labels, info.max_length, info.precision, info.device) == (LABELS, 128, "int8", "cpu")
        assert info.engine in ENGINES
        assert info.size_bytes == (place / "model.onnx").stat().st_size

    def test_without_a_model_says_so(self, engine: Engine) -> None:
        """Neither scores nor a description come from an engine with nothing loaded (``engine_not_loaded``)."""
        for ask in (lambda: engine.run([[2, 3]]), engine.describe):
            with pytest.raises(InternalError) as caught:
                ask()
            assert caught.value.code == "engine_not_loaded"

    def test_unload_lets_go(self, engine: Engine, folder: Path) -> None:
        """After unloading, which may be done twice, there is no model; another can be loaded."""
        engine.load(folder, threads=1, device="cpu")
        before = engine.run(rows_of((5,)))

        engine.unload()
        engine.unload()
        with pytest.raises(InternalError, match="no model loaded"):
            engine.run(rows_of((5,)))
        engine.load(folder, threads=1, device="cpu")

        np.testing.assert_array_equal(engine.run(rows_of((5,))), before)

    def test_gives_no_score_that_is_not_a_number(self, engine: Engine, folder: Path) -> None:
        """A broken model's NaN fails the batch that it is in (``engine_output_invalid``), and no other batch."""
        engine.load(folder, threads=1, device="cpu")
        poisoned = TextEncoder(folder).encode([GOOD_TEXT, POISON])

        with pytest.raises(InternalError) as caught:
            engine.run(poisoned)

        assert caught.value.code == "engine_output_invalid"
        assert np.isfinite(engine.run(poisoned[:1])).all()

    def test_a_wrong_number_of_scores_is_no_answer(self, engine: Engine, folder: Path) -> None:
        """A model that scores other labels than its card names is refused (``servable_invalid``), and not kept."""
        change_card(folder, labels=["只有一个"])

        with pytest.raises(InvalidInputError) as caught:
            engine.load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"
        with pytest.raises(InternalError, match="no model loaded"):
            engine.run(rows_of((3,)))

    def test_an_impossible_token_fails_its_batch_only(self, engine: Engine, folder: Path) -> None:
        """Token ids that the model does not have fail the call (``engine_failed``); the engine stays usable."""
        engine.load(folder, threads=1, device="cpu")

        with pytest.raises(InternalError) as caught:
            engine.run([[2, 10_000_000, 3]])

        assert caught.value.code == "engine_failed"
        assert engine.run(rows_of((3,))).shape == (1, 2)


class TestLoading:
    @pytest.mark.parametrize("device", ["cuda", "tpu", ""])
    def test_a_device_that_is_not_there_is_refused(self, engine: Engine, folder: Path, device: str) -> None:
        """An unusable device is an error that names those that are usable (``device_unavailable``)."""
        if device == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers():
            pytest.skip("this machine has one")

        with pytest.raises(InvalidInputError) as caught:
            engine.load(folder, threads=1, device=device)

        assert (caught.value.code, caught.value.param) == ("device_unavailable", "device")
        assert "cpu" in caught.value.hint

    @pytest.mark.parametrize("name", ["hanlin.json", "model.onnx", "tokenizer.json"])
    def test_an_incomplete_folder_is_refused(self, engine: Engine, folder: Path, name: str) -> None:
        """The error names the file that is missing (``servable_incomplete``)."""
        (folder / name).unlink()

        with pytest.raises(NotFoundError, match=name) as caught:
            engine.load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_incomplete"

    @pytest.mark.parametrize("damage", [b"", b"not a model", b"\x80\x04\x95pickle", b"PK\x03\x04" + bytes(64)])
    def test_broken_weights_are_refused(self, engine: Engine, folder: Path, damage: bytes) -> None:
        """Whatever lies in place of the model: an error with a hint (``servable_invalid``), and nothing is loaded."""
        (folder / "model.onnx").write_bytes(damage)

        with pytest.raises(InvalidInputError) as caught:
            engine.load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"
        assert caught.value.hint
        with pytest.raises(InternalError):
            engine.describe()

    def test_half_a_model_is_refused(self, engine: Engine, folder: Path) -> None:
        """A file that was cut off is broken weights (``servable_invalid``)."""
        weights = folder / "model.onnx"
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])

        with pytest.raises(InvalidInputError) as caught:
            engine.load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"

    @pytest.mark.parametrize("card", [b"", b"[]", b"{}", b"\xff\xfe", b'{"labels": 3}'])
    def test_a_broken_card_is_refused(self, engine: Engine, folder: Path, card: bytes) -> None:
        """A card that cannot be read is named (``servable_invalid``)."""
        (folder / "hanlin.json").write_bytes(card)

        with pytest.raises(InvalidInputError, match=r"hanlin\.json") as caught:
            engine.load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"

    @pytest.mark.parametrize(
        "fields", [{"inputs": ["input_ids"]}, {"pad_id": -1000}, {"pad_id": 10**6}, {"max_length": 0}]
    )
    def test_a_card_of_another_model_is_refused(self, engine: Engine, folder: Path, fields: dict[str, object]) -> None:
        """A model that cannot do what its card says is refused when it is loaded, not with the first request."""
        change_card(folder, **fields)

        with pytest.raises(InvalidInputError) as caught:
            engine.load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"

    def test_an_input_that_no_engine_gives_is_refused(self, engine: Engine, folder: Path) -> None:
        """A model that asks for something else than text is refused (``servable_invalid``)."""
        with_third_input(folder, "pixels")

        with pytest.raises(InvalidInputError, match="pixels") as caught:
            engine.load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"

    @pytest.mark.parametrize("way", ["relative", "absolute", "link"])
    def test_weights_from_outside_the_folder_are_refused(
        self, engine: Engine, folder: Path, tmp_path: Path, way: str
    ) -> None:
        """A model that names a file outside its folder as its weights is refused, and that file is not even opened."""
        secret = tmp_path / "secret.bin"
        places = {"relative": "../secret.bin", "absolute": str(secret), "link": "weights.bin"}
        secret.write_bytes(with_external_weights(folder, places[way]))
        if way == "link":
            (folder / "weights.bin").symlink_to(secret)

        with watching(secret) as was_opened:
            with pytest.raises(InvalidInputError) as caught:
                engine.load(folder, threads=1, device="cpu")

            assert caught.value.code == "servable_invalid"
            assert not was_opened()
            secret.read_bytes()
            assert was_opened()
        with pytest.raises(InternalError):
            engine.run(rows_of((3,)))

    def test_weights_beside_the_model_are_its_own(self, engine: Engine, folder: Path) -> None:
        """Weights in a second file within the folder are the model's, as ONNX has it."""
        before = reference(folder, rows_of((5,)))
        (folder / "weights.bin").write_bytes(with_external_weights(folder, "weights.bin"))

        engine.load(folder, threads=1, device="cpu")

        np.testing.assert_allclose(engine.run(rows_of((5,))), before, atol=TOLERANCE)


class TestCreateEngine:
    def test_an_unknown_engine_is_refused(self) -> None:
        """The error names the engines that there are (``engine_unknown``)."""
        with pytest.raises(InvalidInputError) as caught:
            create_engine("steam")

        assert caught.value.code == "engine_unknown"
        assert "onnx" in caught.value.hint

    def test_each_call_makes_a_new_engine(self, folder: Path) -> None:
        """Two engines share nothing: one is unloaded, the other goes on."""
        first, second = create_engine("onnx"), create_engine("onnx")
        first.load(folder, threads=1, device="cpu")
        second.load(folder, threads=1, device="cpu")

        first.unload()

        assert second.run(rows_of((3,))).shape == (1, 2)


class TestServable:
    def test_the_card_is_read_as_written(self, folder: Path) -> None:
        """The card names the task, the labels and what the model takes."""
        card = read_servable(folder)

        assert (card.task, tuple(card.labels), card.max_length) == ("classification", LABELS, 64)


def rows_of(lengths: tuple[int, ...]) -> list[list[int]]:
    """Return token ids of those lengths, the same every time."""
    random = np.random.default_rng(7)
    safe = [number for number in range(1, 60) if number != 20]  # 20 is the token of POISON
    return [random.choice(safe, length).tolist() for length in lengths]


def reference(folder: Path, rows: list[list[int]]) -> NDArray[np.float32]:
    """Compute the scores without an engine, one text at a time."""
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    feeds = [{"input_ids": np.array([row]), "attention_mask": np.ones((1, len(row)), np.int64)} for row in rows]
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def change_card(folder: Path, **fields: object) -> None:
    """Write other values into the card."""
    card = json.loads((folder / "hanlin.json").read_text(encoding="utf-8"))
    (folder / "hanlin.json").write_text(json.dumps(card | fields, ensure_ascii=False), encoding="utf-8")


def with_third_input(folder: Path, name: str) -> None:
    """Give the model a third input."""
    model = onnx.load(folder / "model.onnx")
    value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["texts", "tokens"])
    model.graph.input.append(value)
    onnx.save(model, folder / "model.onnx")
    change_card(folder, inputs=["input_ids", "attention_mask", name])


def with_external_weights(folder: Path, location: str) -> bytes:
    """Have the model look for its embedding at *location*; return the bytes that would be right there."""
    model = onnx.load(folder / "model.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == "embedding")
    weights: bytes = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(weights)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return weights


@contextmanager
def watching(path: Path) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether anyone has opened *path* since (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        assert libc.inotify_add_watch(descriptor, bytes(path), IN_OPEN) > 0

        def was_opened() -> bool:
            try:
                return bool(os.read(descriptor, 4096))
            except BlockingIOError:
                return False

        yield was_opened
    finally:
        os.close(descriptor)
