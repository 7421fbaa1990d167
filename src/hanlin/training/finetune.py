"""Fine-tuning for classification: sized to the machine and a time budget, resumable at any instant."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hanlin.domain import Reporter, UnavailableError
from hanlin.training.batches import Examples, collate, epoch_batches, labels_of
from hanlin.training.checkpoints import Checkpoints
from hanlin.training.encoders import read_shape
from hanlin.training.machine import choose_device, choose_precision, describe_machine, thread_choices
from hanlin.training.pacing import Pace, ThreadTuner
from hanlin.training.planning import cut_steps, decide_layers, decide_steps, learning_rate_at, with_frozen_layers
from hanlin.training.recipe import Recipe
from hanlin.training.stepper import Stepper, measure
from hanlin.training.writing import write_model

CHECKPOINT_S = 20.0
REPORT_S = 0.5
WORTH_SAYING = 0.1
TIMED_STEPS = 6  # the first of them warms up
PADDING = 1.05  # tokens of a batch of like length, padding included, per token of text
VALIDATIONS = 4  # per run


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What came of a run: the recipe as it was carried out, and its figures."""

    recipe: Recipe
    labels: tuple[str, ...]
    max_length: int
    size_bytes: int
    figures: dict[str, Any]


def finetune(
    recipe: Recipe,
    base: Path,
    corpus: Path,
    out: Path,
    workdir: Path,
    reporter: Reporter,
    *,
    checkpoint_s: float = CHECKPOINT_S,
) -> TrainResult:
    """
    Train a classifier from *base* on *corpus* into the new folder *out* (Hugging Face layout).

    Chooses on the validation split. A run that was killed goes on from the last checkpoint in *workdir*, kept every
    *checkpoint_s*, and takes the same steps; on one thread of a CPU it ends with the same weights. SIGTERM keeps a
    checkpoint and raises UnavailableError (``run_interrupted``). Raises InvalidInputError for recipes, corpora
    (``corpus_not_labelled``, ``corpus_single_label``, ``corpus_empty``), bases or devices that cannot be used, and
    StorageFullError.
    """
    import torch
    from tokenizers import Tokenizer

    begun = time.monotonic()
    torch.manual_seed(recipe.seed)
    labels = labels_of(corpus)
    shape = read_shape(base)
    recipe = replace(recipe, max_length=min(recipe.max_length, shape.longest_input))
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    train = Examples.read(corpus, "train", tokenizer, labels, recipe.max_length)
    validation = Examples.read(corpus, "validation", tokenizer, labels, recipe.max_length)
    checkpoints = Checkpoints(workdir)
    state = checkpoints.state()
    recipe, threads = _settled(recipe, base, train, state, reporter, most=shape.layers)
    torch.set_num_threads(threads.current)
    model = load_model(base, labels, recipe)
    run = _Run(recipe, model, train, validation, checkpoints, reporter, begun, checkpoint_s, threads)
    if state is None:
        run.plan_steps()
    else:
        run.resume(state)
    run.train()
    figures = run.finish() | {"machine": describe_machine(), "train_texts": len(train), "train_tokens": train.tokens}
    write_model(out, base, model, recipe, figures)
    size = (out / "model.safetensors").stat().st_size
    return TrainResult(recipe=recipe, labels=labels, max_length=shape.longest_input, size_bytes=size, figures=figures)


def load_model(base: Path, labels: tuple[str, ...], recipe: Recipe) -> Any:
    """
    Return the base with a fresh classification head and only the lower *recipe.layers* layers.

    Word vectors are not trained, nor are the lowest *recipe.frozen_layers* layers with all that lies below them.
    """
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(base)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = recipe.dropout
    if recipe.layers:
        config.num_hidden_layers = min(recipe.layers, config.num_hidden_layers)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, config=config, dtype=torch.float32, attn_implementation="sdpa" if recipe.device == "cuda" else "eager"
    )
    model.get_input_embeddings().weight.requires_grad_(requires_grad=False)
    if recipe.frozen_layers > 0:
        model.base_model.embeddings.requires_grad_(requires_grad=False)
        model.base_model.encoder.layer[: recipe.frozen_layers].requires_grad_(requires_grad=False)
    return model


def _settled(
    recipe: Recipe, base: Path, train: Examples, state: dict[str, Any] | None, reporter: Reporter, *, most: int
) -> tuple[Recipe, ThreadTuner]:
    """Settle device, precision and, where they are left open, layers: what a resumed run must find unchanged."""
    choices = thread_choices(recipe.threads)
    if state is not None:
        return Recipe.of(state["recipe"]), ThreadTuner(choices, choices[0])
    device = choose_device(recipe.device)
    recipe = replace(recipe, device=device, precision=choose_precision(recipe.precision, device))
    seconds, threads = _timed(recipe, base, train, most, choices)
    layers = recipe.layers or decide_layers(recipe, most, seconds)
    recipe = with_frozen_layers(replace(recipe, layers=min(layers, most)))
    reporter.log(
        "recipe settled",
        layers=recipe.layers,
        frozen_layers=recipe.frozen_layers,
        threads=threads,
        device=device,
        precision=recipe.precision,
    )
    return recipe, ThreadTuner(choices, threads)


def _timed(recipe: Recipe, base: Path, train: Examples, most: int, choices: Sequence[int]) -> tuple[float, int]:
    """Return how long an epoch of as many layers as can be takes, and the number of threads with which it does."""
    if recipe.layers and len(choices) == 1:
        return 0.0, choices[0]  # nothing is open
    whole = with_frozen_layers(replace(recipe, layers=min(recipe.layers or most, most)))
    model = load_model(base, tuple(map(str, range(max(train.labels) + 1))), whole)
    return min((_seconds_per_epoch(model, train, recipe, threads), threads) for threads in choices)


def _seconds_per_epoch(model: Any, train: Examples, recipe: Recipe, threads: int) -> float:
    """Time a few steps; the median, so that a moment in which others had the processor does not count."""
    import torch

    torch.set_num_threads(threads)
    stepper = Stepper(model, recipe, pad_id=int(model.config.pad_token_id or 0))
    per_token: list[float] = []
    for batch in epoch_batches(train, recipe.batch_size, recipe.seed)[:TIMED_STEPS]:
        begun = time.perf_counter()
        inputs = collate(train, batch, stepper.pad_id)
        stepper.step(inputs)
        per_token.append((time.perf_counter() - begun) / inputs[0].numel())
    return statistics.median(per_token[1:] or per_token) * train.tokens * PADDING


@dataclass(slots=True)
class _Run:
    recipe: Recipe
    model: Any
    train_set: Examples
    validation: Examples
    checkpoints: Checkpoints
    reporter: Reporter
    begun: float
    checkpoint_s: float
    threads: ThreadTuner
    stepper: Stepper = field(init=False)
    step: int = 0
    planned: int = 0  # what the recipe asks for
    total: int = 0  # what the time budget holds of it
    spent_s: float = 0.0
    best: dict[str, float] = field(default_factory=lambda: {"validation_accuracy": -1.0})
    without_gain: int = 0
    resumed: int = 0

    def __post_init__(self) -> None:
        self.stepper = Stepper(self.model, self.recipe, pad_id=int(self.model.config.pad_token_id or 0))

    def plan_steps(self) -> None:
        """Settle how many steps there will be, so that the learning rate can end at zero in time."""
        import torch

        per_epoch = max(1, len(epoch_batches(self.train_set, self.recipe.batch_size, self.recipe.seed)))
        spare = load_model_like(self.model)
        seconds = _seconds_per_epoch(spare, self.train_set, self.recipe, self.threads.current)
        del spare
        torch.manual_seed(self.recipe.seed)
        self.planned = max(1, round(per_epoch * self.recipe.epochs))
        self.total = decide_steps(self.recipe, per_epoch, seconds, time.monotonic() - self.begun)
        epochs = self.total / per_epoch
        self.reporter.log(
            "steps planned", steps=self.total, epochs=round(epochs, 2), seconds_per_epoch=round(seconds, 1)
        )

    def resume(self, state: dict[str, Any]) -> None:
        self.step, self.total, self.spent_s = state["step"], state["total"], state["spent_s"]
        self.planned = state["planned"]
        self.best, self.without_gain = state["best"], state["without_gain"]
        self.resumed = state["resumed"] + 1
        self.checkpoints.restore(self.model, self.stepper.optimizer)
        self.reporter.log("resumed from checkpoint", step=self.step, steps=self.total)

    def train(self) -> None:
        every = -(-self.total // VALIDATIONS)
        kept_at = reported_at = time.monotonic()
        pace, loss = Pace(self.threads, kept_at), 0.0
        with _interruptible() as interruption:
            for batch in self._batches():
                rate = learning_rate_at(self.recipe, self.step, self.total)
                self.stepper.rate(rate)
                inputs = collate(self.train_set, batch, self.stepper.pad_id)
                one = self.stepper.step(inputs)
                loss = one if loss == 0.0 else 0.95 * loss + 0.05 * one
                self.step += 1
                now = time.monotonic()
                if (step_s := pace.worked(inputs[0].numel(), now)) is not None:
                    self._keep_pace(step_s)
                if now - reported_at > REPORT_S:
                    reported_at = now
                    self._report(loss, rate)
                if self.step % every == 0 or self.step == self.total:
                    self._validate()
                    pace.resume(time.monotonic())
                    if self.recipe.patience and self.without_gain >= self.recipe.patience:
                        self.reporter.log("stopped early", step=self.step)
                        return
                if interruption or now - kept_at > self.checkpoint_s:
                    self._keep()
                    kept_at = time.monotonic()
                    pace.resume(kept_at)
                if interruption:
                    raise UnavailableError("the run was stopped", code="run_interrupted", hint="it resumes from here")

    def _keep_pace(self, step_s: float) -> None:
        """Use the threads that are fastest now, and take as many of the recipe's steps as the budget holds so."""
        import torch

        torch.set_num_threads(self.threads.current)
        spent_s = self.spent_s + time.monotonic() - self.begun
        total = cut_steps(self.recipe, self.step, self.planned, step_s, spent_s)
        if abs(total - self.total) > self.total * WORTH_SAYING:
            self.reporter.log("steps changed with the pace", planned=self.planned, steps=total)
        self.total = total

    def finish(self) -> dict[str, Any]:
        self.checkpoints.restore_best(self.model)
        return {
            **self.best,
            "steps": self.step,
            "epochs": round(self.step / max(1, self._per_epoch()), 3),
            "layers": self.recipe.layers,
            "frozen_layers": self.recipe.frozen_layers,
            "precision": self.recipe.precision,
            "train_seconds": round(self.spent_s + time.monotonic() - self.begun, 1),
            "resumed": self.resumed,
        }

    def _batches(self) -> Iterator[list[int]]:
        per_epoch, done = self._per_epoch(), self.step
        epoch = done // per_epoch
        while self.step < self.total:
            batches = epoch_batches(self.train_set, self.recipe.batch_size, self.recipe.seed + epoch)
            for batch in batches[done % per_epoch :]:
                if self.step >= self.total:
                    return
                yield batch
            epoch, done = epoch + 1, 0

    def _per_epoch(self) -> int:
        return -(-len(self.train_set) // self.recipe.batch_size)

    def _report(self, loss: float, rate: float) -> None:
        message = f"loss {loss:.3f}"
        if self.best["validation_accuracy"] >= 0:
            message += f", validation accuracy {self.best['validation_accuracy']:.3f}"
        self.reporter.progress(self.step, self.total, "step", message)
        self.reporter.metric("train_loss", self.step, loss)
        self.reporter.metric("learning_rate", self.step, rate)

    def _validate(self) -> None:
        figures = measure(self.model, self.validation, self.stepper)
        for name, value in figures.items():
            self.reporter.metric(name, self.step, value)
        self.reporter.log("validated", step=self.step, **{name: round(value, 4) for name, value in figures.items()})
        if figures["validation_accuracy"] > self.best["validation_accuracy"]:
            self.best, self.without_gain = {**figures, "best_step": self.step}, 0
            self.checkpoints.save_best(self.model)
        else:
            self.without_gain += 1

    def _keep(self) -> None:
        state = {
            "step": self.step,
            "total": self.total,
            "planned": self.planned,
            "spent_s": self.spent_s + time.monotonic() - self.begun,
            "best": self.best,
            "without_gain": self.without_gain,
            "resumed": self.resumed,
            "recipe": self.recipe.as_dict(),
        }
        self.checkpoints.save(self.model, self.stepper.optimizer, state)
        self.reporter.log("checkpoint kept", step=self.step)


def load_model_like(model: Any) -> Any:
    """Return a copy of *model* that may be spoilt by timing it."""
    import copy

    return copy.deepcopy(model)


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Give a list that SIGTERM makes true, so that a run can stop at a checkpoint."""
    received: list[int] = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    except ValueError:  # not the main thread: nobody can send us signals
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)
