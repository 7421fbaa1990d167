"""Real programs for the tests of training: a run that can be killed, and a save that dies at every instant."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from hanlin.domain import PlatformError
from hanlin.training import Recipe, finetune
from hanlin.training.checkpoints import Checkpoints

DIES_AT = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree")


class Speaker:
    """Writes every log line to standard output and waits for a line back: whoever listens decides when it goes on."""

    def progress(self, done: float, total: float, unit: str, message: str = "") -> None:
        """Say nothing."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Say nothing."""

    def log(self, message: str, **fields: object) -> None:
        """Write one line; wait for leave to go on, or for nobody to be there to give it."""
        sys.stdout.write(json.dumps({"message": message, **fields}) + "\n")
        sys.stdout.flush()
        sys.stdin.readline()


def train(folder: Path, recipe: str, checkpoint_s: str) -> None:
    """Fine-tune the base in *folder* on its corpus; say the code of an error."""
    wanted, speaker = Recipe.of(json.loads(recipe)), Speaker()
    base, corpus, model, run = (folder / name for name in ("base", "corpus", "model", "run"))
    try:
        finetune(wanted, base, corpus, model, run, speaker, checkpoint_s=float(checkpoint_s))
    except PlatformError as error:
        speaker.log("failed", code=error.code, is_retryable=error.is_retryable)


def save_and_die(folder: Path) -> None:
    """Save over a checkpoint again and again, dying before each touch of the file system in turn."""
    model, optimizer = small_model()
    number, status = 0, 1
    while status:
        place = folder / str(number)
        fill(model, 1.0)
        Checkpoints(place).save_best(model)
        Checkpoints(place).save(model, optimizer, {"step": 1})
        fill(model, 2.0)
        child = os.fork()
        if child == 0:
            die_before(number)
            Checkpoints(place).save_best(model)
            Checkpoints(place).save(model, optimizer, {"step": 2})
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        number += 1


def small_model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Return a model of a few numbers, and its optimizer after one step."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def fill(model: torch.nn.Module, value: float) -> None:
    """Make every weight *value*."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def die_before(number: int) -> None:
    """Let this process end before it touches the file system for the time *number*, counted from 0."""
    left = [number]

    def hook(event: str, _: tuple[object, ...]) -> None:
        if event in DIES_AT:
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1

    sys.addaudithook(hook)


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]), *sys.argv[3:])
    else:
        save_and_die(Path(sys.argv[2]))
