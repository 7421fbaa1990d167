"""Members of archives are read by name and within bounds; nothing is ever unpacked."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from hanlin.corpora import copy_member, list_members, read_member, stated_licence
from hanlin.domain import NotFoundError, PlatformError, TooLargeError

METADATA = "Metadata-Version: 2.1\nName: p\n{}\n\nText\n"


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "p-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def sdist(folder: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    path = folder / "p-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return path


class TestReadMember:
    @pytest.mark.parametrize("make", [wheel, sdist])
    def test_reads_by_exact_name(self, tmp_path: Path, make: object) -> None:
        """Wheels and sdists alike; a name that is not there is an error that says so."""
        path = make(tmp_path, {"p/data.txt": "文本".encode(), "p/code.py": b""})  # type: ignore[operator]

        assert read_member(path, "p/data.txt", limit_bytes=100) == "文本".encode()
        assert list_members(path) == {"p/data.txt": 6, "p/code.py": 0}
        with pytest.raises(NotFoundError) as caught:
            read_member(path, "p/other.txt", limit_bytes=100)
        assert caught.value.code == "archive_member_missing"

    @pytest.mark.parametrize("make", [wheel, sdist])
    def test_a_bomb_is_stopped_at_the_limit(self, tmp_path: Path, make: object) -> None:
        """The bytes that come out are counted, whatever the archive says about them."""
        path = make(tmp_path, {"p/big": b"\0" * (64 << 20)})  # type: ignore[operator]

        with pytest.raises(TooLargeError) as caught:
            read_member(path, "p/big", limit_bytes=1 << 20)

        assert caught.value.code == "archive_member_too_large"

    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        """A link in an archive is no file of it."""
        path = sdist(tmp_path, {"p/a": b"1"}, {"p/passwd": "/etc/passwd"})

        assert list_members(path) == {"p/a": 1}
        with pytest.raises(NotFoundError):
            read_member(path, "p/passwd", limit_bytes=100)

    def test_names_never_become_paths(self, tmp_path: Path) -> None:
        """A member called ../evil is copied where the caller says, and nowhere else."""
        path = wheel(tmp_path, {"../evil": b"1"})
        target = tmp_path / "inside" / "copy"
        target.parent.mkdir()
        copy_member(path, "../evil", target)

        assert sorted(p.name for p in tmp_path.rglob("*")) == ["copy", "inside", path.name]

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", b"\x1f\x8bnonsense", b"text"])
    def test_what_is_no_archive_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """Damaged archives are named, with a code."""
        path = tmp_path / "a.whl"
        path.write_bytes(content)

        with pytest.raises(PlatformError) as caught:
            list_members(path)

        assert caught.value.code == "archive_corrupt"


class TestStatedLicence:
    @pytest.mark.parametrize(
        ("fields", "licence"),
        [
            ("License-Expression: MIT", "MIT"),
            (
                "License: UNKNOWN\nClassifier: Topic :: Text\nClassifier: License :: OSI Approved :: MIT License",
                "MIT License",
            ),
            ("License: Apache 2.0", "Apache 2.0"),
            ("License: UNKNOWN", ""),
        ],
    )
    def test_says_what_the_metadata_says(self, tmp_path: Path, fields: str, licence: str) -> None:
        """The field, else the classifier; nothing is made up."""
        content = METADATA.format(fields).encode()

        assert stated_licence(wheel(tmp_path, {"p-1.dist-info/METADATA": content})) == licence
        assert stated_licence(sdist(tmp_path, {"p-1/PKG-INFO": content, "p-1/p.egg-info/PKG-INFO": b""})) == licence
