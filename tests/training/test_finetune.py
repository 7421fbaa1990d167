"""Fine-tuning: it learns, it can be killed, and it says what it cannot do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.tiny_bert import build_base, build_corpus
from tests.training.test_checkpoints import PROGRAM, ROOT, room_for

from hanlin.domain import InvalidInputError, SilentReporter, StorageFullError
from hanlin.training import Recipe, TrainResult, finetune
from hanlin.training.finetune import load_model

RECIPE = {
    "layers": 2,
    "max_length": 40,
    "epochs": 6,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "dropout": 0.1,
    "time_budget_s": 3600,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
}
RARELY = 3600.0


class Listener(SilentReporter):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: dict[str, dict[str, object]] = {}
        self.series: set[str] = set()

    def log(self, message: str, **fields: object) -> None:
        """Keep the newest line of its kind."""
        self.lines[message] = fields

    def metric(self, name: str, step: int, value: float) -> None:
        """Keep the name of the series."""
        self.series.add(name)


class Stopped(Exception):  # noqa: N818 - not an error
    """A run was ended from outside."""


class Stopper(SilentReporter):
    """Ends a run at a line of its log."""

    def __init__(self, at: str) -> None:
        self._at = at

    def log(self, message: str, **fields: object) -> None:
        """Raise Stopped if this is the line."""
        if message == self._at:
            raise Stopped


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a corpus."""
    folder = tmp_path_factory.mktemp("place")
    build_base(folder / "base")
    build_corpus(folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def undisturbed(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path]:
    """What a run that nobody interrupts comes to."""
    out = tmp_path_factory.mktemp("undisturbed")
    return train(place, out, checkpoint_s=RARELY), out / "model"


def train(
    place: Path, out: Path, *, reporter: SilentReporter | None = None, checkpoint_s: float = 0.2, **changes: Any
) -> TrainResult:
    recipe = Recipe.of({**RECIPE, **changes})
    reporter = reporter or SilentReporter()
    return finetune(
        recipe, place / "base", place / "corpus", out / "model", out / "run", reporter, checkpoint_s=checkpoint_s
    )


class TestFinetune:
    def test_learns_what_words_mean(self, undisturbed: tuple[TrainResult, Path]) -> None:
        """From random weights, on texts that were held out, nearly every review is told right."""
        result, _ = undisturbed

        assert result.figures["validation_accuracy"] >= 0.95
        assert result.figures["validation_macro_f1"] >= 0.95
        assert result.figures["steps"] == 14 * 6
        assert result.figures["resumed"] == 0

    def test_writes_what_others_can_load(self, undisturbed: tuple[TrainResult, Path]) -> None:
        """The folder is a Hugging Face one, with the labels in the corpus's order and the recipe as it was run."""
        import transformers

        result, folder = undisturbed
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        run = json.loads((folder / "run.json").read_bytes())

        assert tuple(model.config.id2label[number] for number in (0, 1)) == result.labels == ("正面", "负面")
        assert (folder / "tokenizer.json").is_file()
        assert Recipe.of(run["recipe"]) == result.recipe
        assert run["figures"] == result.figures
        assert result.size_bytes == (folder / "model.safetensors").stat().st_size

    def test_says_how_it_goes(self, place: Path, tmp_path: Path) -> None:
        """Whoever watches sees the plan, the validations and the checkpoints."""
        listener = Listener()
        train(place, tmp_path, reporter=listener, checkpoint_s=0, epochs=1)

        assert listener.lines["recipe settled"] == {
            "layers": 2,
            "frozen_layers": 1,
            "threads": 1,
            "device": "cpu",
            "precision": "fp32",
        }
        assert listener.lines["steps planned"]["steps"] == 14
        assert listener.lines["validated"]["step"] == 14
        assert listener.lines["checkpoint kept"]["step"] == 14
        assert {"validation_accuracy", "validation_loss", "validation_macro_f1"} <= listener.series

    def test_stops_early_where_patience_ends(self, place: Path, tmp_path: Path) -> None:
        """A rate at which nothing improves is not followed to the end."""
        listener = Listener()
        result = train(place, tmp_path, reporter=listener, learning_rate=1e-7, patience=1)

        assert "stopped early" in listener.lines
        assert result.figures["steps"] < 14 * 6

    def test_keeps_as_many_layers_as_there_is_time_for(self, place: Path, tmp_path: Path) -> None:
        """Layers left open: a generous budget keeps all of a small base, and never more than it has."""
        assert train(place, tmp_path / "open", layers=0, epochs=0.1).recipe.layers == 2
        assert train(place, tmp_path / "many", layers=12, epochs=0.1).recipe.layers == 2

    def test_keeps_the_lower_layers(self, place: Path) -> None:
        """What is cut is the top of the base; the embeddings stay as they are."""
        base = load_file(place / "base" / "model.safetensors")
        model = load_model(place / "base", ("a", "b"), Recipe.of({**RECIPE, "layers": 1}))
        kept = {name.removeprefix("bert."): value for name, value in model.named_parameters()}
        layers = {name.split(".")[2] for name in kept if name.startswith("encoder.layer.")}
        query = "encoder.layer.0.attention.self.query.weight"

        assert layers == {"0"}
        assert np.array_equal(kept[query].detach().numpy(), base[query])
        assert not kept["embeddings.word_embeddings.weight"].requires_grad

    def test_leaves_frozen_layers_as_they_are(self, undisturbed: tuple[TrainResult, Path], place: Path) -> None:
        """Half of the layers and the embeddings are those of the base; the others have learnt."""
        trained = load_file(undisturbed[1] / "model.safetensors")
        base = load_file(place / "base" / "model.safetensors")

        same = {name for name, value in base.items() if np.array_equal(value, trained[f"bert.{name}"])}

        assert undisturbed[0].recipe.frozen_layers == 1
        assert {name for name in base if name.startswith(("embeddings.", "encoder.layer.0."))} <= same
        assert not any(name.startswith("encoder.layer.1.") and name.endswith("dense.weight") for name in same)

    def test_works_outside_the_main_thread(self, place: Path, tmp_path: Path) -> None:
        """Where nobody can send signals, none are waited for."""
        results: list[TrainResult] = []
        thread = threading.Thread(target=lambda: results.append(train(place, tmp_path, epochs=0.1)))
        thread.start()
        thread.join()

        assert results[0].figures["steps"] == 1

    def test_leaves_the_process_to_its_signals(self, place: Path, tmp_path: Path) -> None:
        """After a run SIGTERM means again what it meant before."""
        before = signal.getsignal(signal.SIGTERM)
        train(place, tmp_path, epochs=0.1)

        assert signal.getsignal(signal.SIGTERM) is before


class TestInterruption:
    def test_a_killed_run_ends_as_if_it_had_not_been(
        self, place: Path, undisturbed: tuple[TrainResult, Path], tmp_path: Path
    ) -> None:
        """After kill -9 it goes on from the last checkpoint, to the same steps and, on one thread, the same weights."""
        with Program(place, tmp_path, checkpoint_s=0) as program:
            lost = program.until("validated")["step"]
            program.process.kill()
        kept = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_bytes())["step"]

        result = train(place, tmp_path, checkpoint_s=RARELY)

        assert 0 < kept < lost
        self.agree(result, tmp_path / "model", undisturbed)

    def test_sigterm_keeps_a_checkpoint(
        self, place: Path, undisturbed: tuple[TrainResult, Path], tmp_path: Path
    ) -> None:
        """Asked to stop, a run keeps where it is and says run_interrupted, which may be retried and goes on there."""
        with Program(place, tmp_path, checkpoint_s=RARELY) as program:
            stopped_at = program.until("validated")["step"]
            program.process.terminate()
            program.go_on()
            kept = program.until("checkpoint kept")
            program.go_on()
            failed = program.until("failed")

        result = train(place, tmp_path, checkpoint_s=RARELY)

        assert failed == {"message": "failed", "code": "run_interrupted", "is_retryable": True}
        assert kept["step"] == stopped_at
        self.agree(result, tmp_path / "model", undisturbed)

    def agree(self, result: TrainResult, folder: Path, undisturbed: tuple[TrainResult, Path]) -> None:
        """Check that a resumed run came to what an undisturbed one does."""
        wanted, wanted_folder = undisturbed
        figures, wanted_figures = result.figures, wanted.figures
        found, expected = (load_file(path / "model.safetensors") for path in (folder, wanted_folder))

        assert figures["resumed"] == 1
        assert {n: figures[n] for n in figures if n not in {"resumed", "train_seconds", "machine"}} == {
            n: wanted_figures[n] for n in wanted_figures if n not in {"resumed", "train_seconds", "machine"}
        }
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


class TestNoRoom:
    def test_for_a_checkpoint_ends_the_run_with_its_code(self, place: Path, tmp_path: Path) -> None:
        """The last checkpoint stays; with room again, the run goes on from it."""
        with pytest.raises(Stopped):
            train(place, tmp_path, checkpoint_s=0, reporter=Stopper("checkpoint kept"))
        with room_for(20_000), pytest.raises(StorageFullError) as caught:
            train(place, tmp_path, checkpoint_s=0)

        assert caught.value.code == "storage_full"
        assert json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_bytes())["step"] == 1
        assert train(place, tmp_path).figures["resumed"] == 1

    def test_for_the_model_leaves_none(self, place: Path, tmp_path: Path) -> None:
        """The model's folder appears whole or not at all."""
        train(place, tmp_path / "first", checkpoint_s=RARELY, epochs=0.1)
        without_embeddings = (tmp_path / "first" / "run" / "best.safetensors").stat().st_size
        with room_for(without_embeddings), pytest.raises(StorageFullError):
            train(place, tmp_path / "second", checkpoint_s=RARELY, epochs=0.1)

        assert not (tmp_path / "second" / "model").exists()


class TestBases:
    @pytest.mark.parametrize(("kind", "positions"), [("bert", 16), ("roberta", 18)])
    def test_texts_are_cut_to_what_a_base_takes(self, tmp_path: Path, kind: str, positions: int) -> None:
        """A recipe may ask for more tokens than a base has positions; RoBERTa loses two of its to padding."""
        build_base(tmp_path / "base", kind=kind, positions=positions)
        build_corpus(tmp_path / "corpus")
        result = train(tmp_path, tmp_path, max_length=512, epochs=0.2)

        assert (result.recipe.max_length, result.max_length) == (16, 16)

    def test_a_base_that_is_no_encoder_is_refused(self, place: Path, tmp_path: Path) -> None:
        """GPT-2 names its sizes differently; it is named, not stumbled over."""
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "config.json").write_text('{"model_type": "gpt2", "n_layer": 2, "n_positions": 64}')
        with pytest.raises(InvalidInputError, match="'gpt2' cannot be fine-tuned") as caught:
            finetune(
                Recipe(), tmp_path / "base", place / "corpus", tmp_path / "out", tmp_path / "run", SilentReporter()
            )

        assert caught.value.code == "base_unsupported"


class Program:
    """A run in a process of its own, which stands still at every line of its log until it is asked for the next."""

    def __init__(self, place: Path, folder: Path, *, checkpoint_s: float) -> None:
        for name in ("base", "corpus"):
            (folder / name).symlink_to(place / name)
        command = [sys.executable, str(PROGRAM), "train", str(folder), json.dumps(RECIPE), str(checkpoint_s)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until(self, message: str) -> dict[str, Any]:
        """Let it run to the next line that says *message*, and return that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            found: dict[str, Any] = json.loads(line)
            if found["message"] == message:
                return found
            self.process.stdin.write("\n")
        raise AssertionError(f"the run ended without {message!r}")

    def go_on(self) -> None:
        """Let it leave the line at which it stands."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
