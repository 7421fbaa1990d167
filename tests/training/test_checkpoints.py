"""Checkpoints: whole or not at all, whatever happens while one is written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests.training.programs import fill, small_model

from hanlin.domain import StorageFullError
from hanlin.training.checkpoints import Checkpoints, safetensors_errors

PROGRAM = Path(__file__).with_name("programs.py")
ROOT = Path(__file__).parents[2]


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow past *size_bytes*, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def weights(model: torch.nn.Module) -> set[float]:
    return {float(value) for parameter in model.parameters() for value in parameter.detach().flatten()}


class TestCheckpoints:
    def test_a_new_run_has_none(self, tmp_path: Path) -> None:
        """Nothing is restored where nothing was kept."""
        model, optimizer = small_model()
        fill(model, 3.0)
        checkpoints = Checkpoints(tmp_path / "run")
        checkpoints.restore(model, optimizer)
        checkpoints.restore_best(model)

        assert checkpoints.state() is None
        assert weights(model) == {3.0}

    def test_brings_everything_back(self, tmp_path: Path) -> None:
        """Weights, moments, step counts, random numbers and the run's own state are those of the save."""
        model, optimizer = small_model()
        Checkpoints(tmp_path).save(model, optimizer, {"step": 7, "best": {"validation_accuracy": 0.5}})
        saved = {name: value.clone() for name, value in model.state_dict().items()}
        drawn = torch.rand(3)
        other, other_optimizer = small_model()
        Checkpoints(tmp_path).restore(other, other_optimizer)

        assert Checkpoints(tmp_path).state() == {"step": 7, "best": {"validation_accuracy": 0.5}}
        assert all(torch.equal(saved[name], value) for name, value in other.state_dict().items())
        assert torch.equal(torch.rand(3), drawn)
        moments = [optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]]
        assert moments[0].keys() == moments[1].keys()
        assert all(torch.equal(moments[0][n][key], moments[1][n][key]) for n in moments[0] for key in moments[0][n])

    def test_frozen_weights_are_left_out(self, tmp_path: Path) -> None:
        """What training does not change is in the base already."""
        model, optimizer = small_model()
        model.get_parameter("bias").requires_grad_(requires_grad=False)
        fill(model, 1.0)
        Checkpoints(tmp_path).save(model, optimizer, {})
        fill(model, 2.0)
        Checkpoints(tmp_path).restore(model, optimizer)

        assert model.get_parameter("weight").unique().tolist() == [1.0]
        assert model.get_parameter("bias").unique().tolist() == [2.0]

    def test_the_newest_replaces_the_last(self, tmp_path: Path) -> None:
        """There is one checkpoint, and nothing of how it was made."""
        model, optimizer = small_model()
        for step in (1, 2, 3):
            Checkpoints(tmp_path).save(model, optimizer, {"step": step})

        assert Checkpoints(tmp_path).state() == {"step": 3}
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]

    def test_goes_back_to_the_best_weights_of_its_time(self, tmp_path: Path) -> None:
        """Weights that validated best after the checkpoint belong to a future that was lost with the process."""
        model, optimizer = small_model()
        checkpoints = Checkpoints(tmp_path)
        fill(model, 1.0)
        checkpoints.save_best(model)
        checkpoints.save(model, optimizer, {"step": 1})
        fill(model, 2.0)
        checkpoints.save_best(model)
        checkpoints.restore(model, optimizer)
        fill(model, 3.0)
        checkpoints.restore_best(model)

        assert weights(model) == {1.0}

    def test_a_best_from_before_any_checkpoint_counts_only_with_one(self, tmp_path: Path) -> None:
        """A checkpoint that knew no best weights does not inherit any."""
        model, optimizer = small_model()
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(model, optimizer, {"step": 1})
        checkpoints.save_best(model)
        checkpoints.restore(model, optimizer)
        fill(model, 3.0)
        checkpoints.restore_best(model)

        assert weights(model) == {3.0}


@pytest.fixture(scope="module")
def graves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of runs that died while saving, each one touch of the file system later than the one before."""
    folder = tmp_path_factory.mktemp("graves")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, PROGRAM, "save_and_die", folder], check=True, env=environment)
    return folder


@pytest.fixture
def deaths(graves: Path, tmp_path: Path) -> list[Path]:
    """Those folders in their order, as copies to change."""
    copies = shutil.copytree(graves, tmp_path / "copies")
    return sorted(copies.iterdir(), key=lambda path: int(path.name))


class TestDeath:
    def test_a_save_that_dies_anywhere_leaves_a_whole_checkpoint(self, deaths: list[Path]) -> None:
        """Whenever the process ends, one of the two checkpoints can be read, and once it is the new one it stays so."""
        seen = [found_in(folder) for folder in deaths]

        assert len(deaths) > 10
        assert set(seen) == {1, 2}
        assert seen == sorted(seen)

    def test_the_save_after_a_death_is_safe_too(self, deaths: list[Path]) -> None:
        """Whatever lies about from the last attempt, the next one has its place and leaves none of it."""
        model, optimizer = small_model()
        for folder in deaths:
            Checkpoints(folder).save_best(model)
            Checkpoints(folder).save(model, optimizer, {"step": 3})

            assert Checkpoints(folder).state() == {"step": 3}
            assert {path.name for path in folder.iterdir()} == {"checkpoint", "best.safetensors"}

    def test_only_the_checkpoint_before_is_left_and_that_is_not_given_up(self, tmp_path: Path) -> None:
        """A process died between two renames; the next has no room, and still there is something to go on from."""
        model, optimizer = small_model()
        Checkpoints(tmp_path).save(model, optimizer, {"step": 1})
        (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
        with room_for(64), pytest.raises(StorageFullError):
            Checkpoints(tmp_path).save(model, optimizer, {"step": 2})

        assert Checkpoints(tmp_path).state() == {"step": 1}


class TestNoRoom:
    def test_is_said_and_the_last_checkpoint_stays(self, tmp_path: Path) -> None:
        """A full disk is storage_full, not a crash, and nothing half-written is left."""
        model, optimizer = small_model()
        fill(model, 1.0)
        Checkpoints(tmp_path).save(model, optimizer, {"step": 1})
        fill(model, 2.0)
        with room_for(64), pytest.raises(StorageFullError) as caught:
            Checkpoints(tmp_path).save(model, optimizer, {"step": 2})
        Checkpoints(tmp_path).restore(model, optimizer)

        assert caught.value.code == "storage_full"
        assert (Checkpoints(tmp_path).state(), weights(model)) == ({"step": 1}, {1.0})
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]

    def test_the_best_weights_before_stay(self, tmp_path: Path) -> None:
        """The same holds for the best weights."""
        model, _ = small_model()
        fill(model, 1.0)
        Checkpoints(tmp_path).save_best(model)
        fill(model, 2.0)
        with room_for(64), pytest.raises(StorageFullError):
            Checkpoints(tmp_path).save_best(model)
        Checkpoints(tmp_path).restore_best(model)

        assert weights(model) == {1.0}
        assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]

    def test_other_trouble_with_tensors_is_not_taken_for_it(self, tmp_path: Path) -> None:
        """A damaged file stays what it is."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        (tmp_path / "damaged").write_bytes(b"\0" * 100)
        with pytest.raises(SafetensorError), safetensors_errors():
            load_file(tmp_path / "damaged")


def found_in(folder: Path) -> int:
    """Return the step of the checkpoint in *folder*; its weights and the best ones must be those of that step."""
    checkpoints = Checkpoints(folder)
    state = checkpoints.state()
    assert state is not None
    model, optimizer = small_model()
    checkpoints.restore(model, optimizer)
    assert weights(model) == {float(state["step"])}
    checkpoints.restore_best(model)
    assert weights(model) == {float(state["step"])}
    return int(state["step"])
