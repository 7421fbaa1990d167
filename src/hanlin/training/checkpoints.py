"""
Checkpoints: tensors as safetensors, the rest as JSON; nothing that could run code.

    checkpoint/model.safetensors  optimizer.safetensors  best.safetensors  state.json      the newest whole one
    best.safetensors                                              the weights with the best validation until now

A checkpoint has its own link to the best weights of its time, so that a run that goes on from it does not inherit
those of a future that was lost.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.corpora import reporting_full_disk

if TYPE_CHECKING:
    import torch

WEIGHTS, OPTIMIZER, BEST, STATE = "model.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"
RNG = "rng_state"
OS_ERROR = re.compile(r"\(os error (\d+)\)")


class Checkpoints:
    """The checkpoints of one run, in its working folder."""

    def __init__(self, workdir: Path) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        self._folder, self._next = workdir / "checkpoint", workdir / "checkpoint.new"
        self._old, self._best = workdir / "checkpoint.old", workdir / BEST

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """
        Keep everything that going on needs; the last checkpoint stays until the new one is whole.

        Raises StorageFullError; the run can still go on from the last checkpoint then.
        """
        shutil.rmtree(self._next, ignore_errors=True)
        try:
            with reporting_full_disk(self._folder), safetensors_errors():
                self._next.mkdir()
                self._fill(model, optimizer, state)
        except BaseException:
            shutil.rmtree(self._next, ignore_errors=True)
            raise
        if self._folder.exists():
            shutil.rmtree(self._old, ignore_errors=True)
            self._folder.rename(self._old)
        self._next.rename(self._folder)
        _sync(self._folder.parent)
        shutil.rmtree(self._old, ignore_errors=True)

    def _fill(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        import torch
        from safetensors.torch import save_file

        save_file(_trainable(model), self._next / WEIGHTS)
        save_file({**_moments(optimizer), RNG: torch.get_rng_state()}, self._next / OPTIMIZER)
        if self._best.is_file():
            _link(self._best, self._next / BEST)
        (self._next / STATE).write_bytes(json.dumps(state).encode())
        for path in [*self._next.iterdir(), self._next]:
            _sync(path)

    def state(self) -> dict[str, Any] | None:
        """Return the state of the newest checkpoint, or None."""
        folder = self._newest()
        return None if folder is None else json.loads((folder / STATE).read_bytes())

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put weights, best weights, optimizer and random numbers back to where the newest checkpoint left them."""
        import torch
        from safetensors.torch import load_file

        folder = self._newest()
        if folder is None:
            return
        model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        tensors = load_file(folder / OPTIMIZER)
        torch.set_rng_state(tensors.pop(RNG))
        _restore_moments(optimizer, tensors)
        self._best.unlink(missing_ok=True)
        if (folder / BEST).is_file():
            _link(folder / BEST, self._best)

    def save_best(self, model: torch.nn.Module) -> None:
        """Keep the weights that validated best so far; raise StorageFullError, and keep those before, without room."""
        from safetensors.torch import save_file

        scratch = self._best.with_suffix(".new")
        try:
            with reporting_full_disk(self._best), safetensors_errors():
                save_file(_trainable(model), scratch)
                _sync(scratch)
            scratch.replace(self._best)
        finally:
            scratch.unlink(missing_ok=True)

    def restore_best(self, model: torch.nn.Module) -> None:
        """Give the model the weights that validated best."""
        from safetensors.torch import load_file

        if self._best.is_file():
            model.load_state_dict(load_file(self._best), strict=False)

    def _newest(self) -> Path | None:
        for folder in (self._folder, self._old):
            if (folder / STATE).is_file():
                return folder
        return None


@contextmanager
def safetensors_errors() -> Iterator[None]:
    """Turn what safetensors raises when the system refuses to write into the OSError that it was."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        if found := OS_ERROR.search(str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
        raise


def _trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().contiguous() for name, value in model.named_parameters() if value.requires_grad}


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"{number}.{name}"] = value.contiguous()
    return tensors


def _restore_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
