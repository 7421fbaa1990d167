"""The store keeps nouns, leases and transactions; artifacts keep bytes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hanlin.domain import (
    ApiKey,
    ConflictError,
    InvalidInputError,
    KeyId,
    KeyKind,
    Model,
    ModelName,
    NotFoundError,
    PreconditionFailedError,
    Role,
)
from hanlin.store import ArtifactStore, Store
from hanlin.store.leases import Leases

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def model(name: str, description: str = "") -> Model:
    return Model(name=ModelName(name), task="classification", created_at=NOW, description=description)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store.sqlite3")
    yield store
    store.close()


class TestCollection:
    def test_gives_back_what_was_added(self, store: Store) -> None:
        """A noun comes back equal, with its types."""
        key = ApiKey(
            id=KeyId("abc"),
            kind=KeyKind.API,
            name="n",
            principal="p",
            roles=frozenset({Role.CALLER, Role.AUDITOR}),
            hash="h",
            created_at=NOW,
            created_by="x",
        )

        assert store.keys.add(key) == store.keys.get("abc")

    def test_refuses_a_taken_key(self, store: Store) -> None:
        """Two things cannot have one name; the code says which noun."""
        store.models.add(model("a"))

        with pytest.raises(ConflictError) as caught:
            store.models.add(model("a"))
        assert caught.value.code == "model_exists"

    def test_names_what_is_missing(self, store: Store) -> None:
        """Get raises with the noun in the code, find returns None."""
        with pytest.raises(NotFoundError) as caught:
            store.models.get("nobody")

        assert caught.value.code == "model_not_found"
        assert store.models.find("nobody") is None

    def test_replaces_only_what_it_read(self, store: Store) -> None:
        """Of two writers that read the same row, the second is refused."""
        first = store.models.add(model("a"))
        store.models.replace(replace(first, description="one"), was=first)

        with pytest.raises(PreconditionFailedError):
            store.models.replace(replace(first, description="two"), was=first)
        assert store.models.get("a").description == "one"

    def test_pages_without_gaps(self, store: Store) -> None:
        """Following the cursor shows every item once, in both directions."""
        names = [f"m{i:02}" for i in range(7)]
        for name in names:
            store.models.add(model(name))

        seen: list[str] = []
        cursor = None
        while True:
            page = store.models.list(limit=3, after=cursor, newest_first=True)
            seen += [m.name for m in page.items]
            if (cursor := page.next_cursor) is None:
                break
        assert seen == names[::-1]
        assert [m.name for m in store.models.iter()] == names


class TestTransaction:
    def test_undoes_everything_when_the_block_fails(self, store: Store) -> None:
        """Nothing of a failed transaction stays."""

        def fail() -> None:
            with store.transaction():
                store.models.add(model("a"))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()

        assert store.models.find("a") is None

    def test_survives_reopening(self, tmp_path: Path) -> None:
        """What was written is there for the next process; migrations run once."""
        first = Store.open(tmp_path / "s.sqlite3")
        first.models.add(model("a"))
        first.close()
        second = Store.open(tmp_path / "s.sqlite3")

        assert second.models.get("a") == model("a")
        second.close()


class TestLeases:
    def test_have_one_holder_until_they_expire(self, store: Store) -> None:
        """A second holder waits for the expiry; the first may renew and release."""
        now = [100.0]
        leases = Leases(store.transaction, clock=lambda: now[0])

        assert leases.acquire("task", "a", 10)
        assert not leases.acquire("task", "b", 10)
        assert leases.acquire("task", "a", 10)
        now[0] = 111.0
        assert leases.acquire("task", "b", 10)
        leases.release("task", "a")
        assert leases.holder_of("task") == "b"

    def test_are_taken_by_one_of_many_processes(self, tmp_path: Path) -> None:
        """Processes that race for a lease cannot both get it."""
        Store.open(tmp_path / "s.sqlite3").close()
        context = multiprocessing.get_context("spawn")
        with context.Pool(3) as pool:
            won = pool.starmap(_race, [(tmp_path / "s.sqlite3", f"p{i}") for i in range(3)])

        assert sum(won) == 1


def _race(path: Path, holder: str) -> bool:
    store = Store.open(path)
    try:
        return store.leases.acquire("one", holder, 60)
    finally:
        store.close()


class TestArtifactStore:
    def test_names_a_folder_by_its_content(self, tmp_path: Path) -> None:
        """The same files give the same digest; putting them twice keeps one copy."""
        folder = tmp_path / "folder"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "模型.txt").write_text("你好")
        artifacts = ArtifactStore(tmp_path / "artifacts")

        digest = artifacts.put(folder)

        assert artifacts.put(folder) == digest
        assert (artifacts.path(digest) / "deep" / "模型.txt").read_text() == "你好"
        artifacts.verify(digest)

    def test_finds_a_flipped_bit_and_a_missing_file(self, tmp_path: Path) -> None:
        """A changed or missing file is named."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "weights").write_bytes(b"\x00" * 100)
        artifacts = ArtifactStore(tmp_path / "artifacts")
        digest = artifacts.put(tmp_path / "folder")

        (artifacts.path(digest) / "weights").write_bytes(b"\x00" * 99 + b"\x01")
        with pytest.raises(ConflictError, match="weights") as caught:
            artifacts.verify(digest)
        (artifacts.path(digest) / "weights").unlink()
        with pytest.raises(ConflictError, match="weights"):
            artifacts.verify(digest)
        assert caught.value.code == "artifact_corrupt"

    @pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc", "md5:" + "0" * 64, "sha256:" + "0" * 64])
    def test_finds_only_digests(self, tmp_path: Path, digest: str) -> None:
        """A digest is never a path."""
        with pytest.raises(NotFoundError):
            ArtifactStore(tmp_path).path(digest)  # type: ignore[arg-type]

    def test_refuses_links(self, tmp_path: Path) -> None:
        """A link could point outside: it is refused."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "link").symlink_to("/etc/hostname")

        with pytest.raises(InvalidInputError):
            ArtifactStore(tmp_path / "artifacts").put(tmp_path / "folder")
