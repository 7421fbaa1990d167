from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.journey import Journey, travel
from tests.e2e.running import RunningPlatform

SELF_APPROVAL = {"HANLIN_CONTROL__MAY_APPROVE_ITSELF": "true"}
DEPLOYMENT = "reviews"
Copies = Callable[..., RunningPlatform]


@dataclass(frozen=True)
class Published:
    """A data folder, at rest, in which the whole way to a published version was gone; and how it went."""

    data: Path
    journey: Journey

    def copy(self, data: Path, settings: Mapping[str, str] | None = None) -> RunningPlatform:
        """Return a platform, not yet started, on a copy of the folder: as one restores a backup."""
        shutil.copytree(self.data, data, ignore=shutil.ignore_patterns("run"))
        return RunningPlatform(data, settings or {})


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The whole way, gone once for all tests."""
    root = tmp_path_factory.mktemp("e2e")
    with RunningPlatform(root / "first", SELF_APPROVAL) as platform:
        journey = travel(platform, root / "text")
    return Published(platform.data, journey)


@pytest.fixture(scope="session")
def shared(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A platform that serves with two replicas, for tests that leave it as they found it."""
    with published.copy(tmp_path_factory.mktemp("shared") / "data") as platform:
        platform.deploy(DEPLOYMENT, min_replicas=2, max_replicas=2)
        yield platform


@pytest.fixture
def own(published: Published, tmp_path: Path) -> Iterator[RunningPlatform]:
    """A platform with the published version, nothing deployed, that a test may wreck."""
    platform = published.copy(tmp_path / "own")
    try:
        yield platform
    finally:
        platform.stop()
