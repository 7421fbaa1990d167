"""Fine-tuning for classification: sized to the machine and a time budget, resumable at any instant."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hanlin.domain import Reporter, UnavailableError
from hanlin.training.batches import Examples, collate, epoch_batches, labels_of
from hanlin.training.checkpoints import Checkpoints
from hanlin.training.encoders import read_shape
from hanlin.training.machine import choose_device, choose_precision, describe_machine, thread_choices
from hanlin.training.planning import cut_steps, decide_layers, decide_steps, learning_rate_at, with_frozen_layers
from hanlin.training.recipe import Recipe
from hanlin.training.writing import write_model

if TYPE_CHECKING:
    import torch

CHECKPOINT_S = 20.0
REPORT_S = 0.5
LOOK_S = 5.0  # pause between two looks at the time budget
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
    recipe = _settled(recipe, base, train, state, reporter, most=shape.layers)
    torch.set_num_threads(recipe.threads)
    model = load_model(base, labels, recipe)
    run = _Run(recipe, model, train, validation, checkpoints, reporter, begun, checkpoint_s)
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
) -> Recipe:
    """Settle device, precision and, where they are left open, layers: what a resumed run must find unchanged."""
    if state is not None:
        return Recipe.of(state["recipe"])
    device = choose_device(recipe.device)
    recipe = replace(recipe, device=device, precision=choose_precision(recipe.precision, device))
    recipe = _sized(recipe, base, train, most)
    reporter.log(
        "recipe settled",
        layers=recipe.layers,
        frozen_layers=recipe.frozen_layers,
        threads=recipe.threads,
        device=recipe.device,
        precision=recipe.precision,
    )
    return recipe


def _sized(recipe: Recipe, base: Path, train: Examples, most: int) -> Recipe:
    """Time a few steps of the whole model; settle threads and, where they are left open, layers by what fits."""
    choices = thread_choices(recipe.threads)
    whole = with_frozen_layers(replace(recipe, layers=min(recipe.layers or most, most)))
    if recipe.layers and len(choices) == 1:
        return replace(whole, threads=choices[0])
    model = load_model(base, tuple(map(str, range(max(train.labels) + 1))), whole)
    seconds, threads = min((_seconds_per_epoch(model, train, recipe, threads), threads) for threads in choices)
    layers = recipe.layers or decide_layers(recipe, most, seconds)
    return with_frozen_layers(replace(recipe, layers=min(layers, most), threads=threads))


def _seconds_per_epoch(model: Any, train: Examples, recipe: Recipe, threads: int) -> float:
    """Time a few steps; the median, so that a moment in which others had the processor does not count."""
    import torch

    torch.set_num_threads(threads)
    stepper = _Stepper(model, recipe, pad_id=int(model.config.pad_token_id or 0))
    per_token: list[float] = []
    for batch in epoch_batches(train, recipe.batch_size, recipe.seed)[:TIMED_STEPS]:
        begun = time.perf_counter()
        inputs = collate(train, batch, stepper.pad_id)
        stepper.step(inputs)
        per_token.append((time.perf_counter() - begun) / inputs[0].numel())
    return statistics.median(per_token[1:] or per_token) * train.tokens * PADDING


class _Stepper:
    """One optimizer step after another."""

    def __init__(self, model: Any, recipe: Recipe, *, pad_id: int) -> None:
        import torch

        self.model, self.recipe, self.pad_id = model.to(recipe.device), recipe, pad_id
        head = [p for n, p in model.named_parameters() if p.requires_grad and ("classifier" in n or "pooler" in n)]
        known = {id(p) for p in head}
        body = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": body, "scale": 1.0}, {"params": head, "scale": 3.0}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )

    def rate(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = value * group["scale"]

    def step(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> float:
        import torch

        ids, mask, labels = (tensor.to(self.recipe.device) for tensor in batch)
        self.model.train()
        with self.autocast():
            loss = self.model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self.recipe.precision != "bf16":
            return nullcontext()
        scope: AbstractContextManager[Any] = torch.autocast(self.recipe.device, dtype=torch.bfloat16)
        return scope


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
    stepper: _Stepper = field(init=False)
    step: int = 0
    total: int = 0
    spent_s: float = 0.0
    best: dict[str, float] = field(default_factory=lambda: {"validation_accuracy": -1.0})
    without_gain: int = 0
    resumed: int = 0

    def __post_init__(self) -> None:
        self.stepper = _Stepper(self.model, self.recipe, pad_id=int(self.model.config.pad_token_id or 0))

    def plan_steps(self) -> None:
        """Settle how many steps there will be, so that the learning rate can end at zero in time."""
        import torch

        per_epoch = max(1, len(epoch_batches(self.train_set, self.recipe.batch_size, self.recipe.seed)))
        spare = load_model_like(self.model)
        seconds = _seconds_per_epoch(spare, self.train_set, self.recipe, self.recipe.threads)
        del spare
        torch.manual_seed(self.recipe.seed)
        self.total = decide_steps(self.recipe, per_epoch, seconds, time.monotonic() - self.begun)
        epochs = self.total / per_epoch
        self.reporter.log(
            "steps planned", steps=self.total, epochs=round(epochs, 2), seconds_per_epoch=round(seconds, 1)
        )

    def resume(self, state: dict[str, Any]) -> None:
        self.step, self.total, self.spent_s = state["step"], state["total"], state["spent_s"]
        self.best, self.without_gain = state["best"], state["without_gain"]
        self.resumed = state["resumed"] + 1
        self.checkpoints.restore(self.model, self.stepper.optimizer)
        self.reporter.log("resumed from checkpoint", step=self.step, steps=self.total)

    def train(self) -> None:
        every = -(-self.total // VALIDATIONS)
        began, first = time.monotonic(), self.step
        kept_at = reported_at = looked_at = began
        loss = 0.0
        with _interruptible() as interruption:
            for batch in self._batches():
                rate = learning_rate_at(self.recipe, self.step, self.total)
                self.stepper.rate(rate)
                one = self.stepper.step(collate(self.train_set, batch, self.stepper.pad_id))
                loss = one if loss == 0.0 else 0.95 * loss + 0.05 * one
                self.step += 1
                if (now := time.monotonic()) - reported_at > REPORT_S:
                    reported_at = now
                    self._report(loss, rate)
                if now - looked_at > LOOK_S:
                    looked_at = now
                    self._keep_to_budget((now - began) / (self.step - first))
                if self.step % every == 0 or self.step == self.total:
                    self._validate()
                    if self.recipe.patience and self.without_gain >= self.recipe.patience:
                        self.reporter.log("stopped early", step=self.step)
                        return
                if interruption or now - kept_at > self.checkpoint_s:
                    self._keep()
                    kept_at = time.monotonic()
                if interruption:
                    raise UnavailableError("the run was stopped", code="run_interrupted", hint="it resumes from here")

    def _keep_to_budget(self, pace_s: float) -> None:
        spent_s = self.spent_s + time.monotonic() - self.begun
        total = cut_steps(self.recipe, self.step, self.total, pace_s, spent_s)
        if total < self.total:
            self.reporter.log("slower than planned, fewer steps", planned=self.total, steps=total)
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


def measure(model: Any, examples: Examples, stepper: _Stepper) -> dict[str, float]:
    """Return loss, accuracy and macro-F1 of *model* on *examples*."""
    import torch

    model.eval()
    order = sorted(range(len(examples)), key=lambda i: len(examples.ids[i]))
    predicted, losses = np.zeros(len(examples), dtype=np.int64), 0.0
    with torch.inference_mode(), stepper.autocast():
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            ids, mask, labels = (t.to(stepper.recipe.device) for t in collate(examples, chosen, stepper.pad_id))
            result = model(input_ids=ids, attention_mask=mask, labels=labels)
            predicted[chosen] = result.logits.argmax(-1).cpu().numpy()
            losses += float(result.loss) * len(chosen)
    truth = np.array(examples.labels)
    f1 = []
    for label in np.union1d(truth, predicted):
        hits = int(((predicted == label) & (truth == label)).sum())
        f1.append(2 * hits / max(1, int((predicted == label).sum()) + int((truth == label).sum())))
    return {
        "validation_loss": losses / len(examples),
        "validation_accuracy": float((predicted == truth).mean()),
        "validation_macro_f1": float(np.mean(f1)),
    }


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
