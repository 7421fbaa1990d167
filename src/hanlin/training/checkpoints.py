"""
Checkpoints: tensors as safetensors, the rest as JSON; nothing that could run code.

    checkpoint/model.safetensors  optimizer.safetensors  state.json      the newest whole one
    best.safetensors                                                      the weights with the best validation
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.domain import StorageFullError

if TYPE_CHECKING:
    import torch

RNG = "rng_state"


class Checkpoints:
    """The checkpoints of one run, in its working folder."""

    def __init__(self, workdir: Path) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        self._folder, self._next = workdir / "checkpoint", workdir / "checkpoint.new"
        self._best = workdir / "best.safetensors"

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Keep everything that going on needs; the last checkpoint stays until the new one is whole."""
        import torch
        from safetensors.torch import save_file

        shutil.rmtree(self._next, ignore_errors=True)
        self._next.mkdir()
        try:
            save_file(_trainable(model), self._next / "model.safetensors")
            save_file({**_moments(optimizer), RNG: torch.get_rng_state()}, self._next / "optimizer.safetensors")
            _write(self._next / "state.json", json.dumps(state).encode())
            for path in self._next.iterdir():
                _sync(path)
        except OSError as error:
            shutil.rmtree(self._next, ignore_errors=True)
            if error.errno == errno.ENOSPC:
                raise StorageFullError(
                    "no room for a checkpoint", hint="free space; the run goes on from the last"
                ) from error
            raise
        old = self._folder.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if self._folder.exists():
            self._folder.rename(old)
        self._next.rename(self._folder)
        shutil.rmtree(old, ignore_errors=True)

    def state(self) -> dict[str, Any] | None:
        """Return the state of the newest checkpoint, or None."""
        folder = self._newest()
        return None if folder is None else json.loads((folder / "state.json").read_bytes())

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put weights, optimizer and random numbers back to where the newest checkpoint left them."""
        import torch
        from safetensors.torch import load_file

        folder = self._newest()
        if folder is None:
            return
        model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        tensors = load_file(folder / "optimizer.safetensors")
        torch.set_rng_state(tensors.pop(RNG))
        _restore_moments(optimizer, tensors)

    def save_best(self, model: torch.nn.Module) -> None:
        """Keep the weights that validated best so far."""
        from safetensors.torch import save_file

        scratch = self._best.with_suffix(".new")
        save_file(_trainable(model), scratch)
        _sync(scratch)
        scratch.replace(self._best)

    def restore_best(self, model: torch.nn.Module) -> None:
        """Give the model the weights that validated best."""
        from safetensors.torch import load_file

        if self._best.is_file():
            model.load_state_dict(load_file(self._best), strict=False)

    def _newest(self) -> Path | None:
        for folder in (self._folder, self._folder.with_suffix(".old")):
            if (folder / "state.json").is_file():
                return folder
        return None


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


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
