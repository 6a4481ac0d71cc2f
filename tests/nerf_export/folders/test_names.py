"""The files that names of other machines mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dp3d_core.errors import Dp3dError
from nerf_export.folders.capture import Notes
from nerf_export.folders.names import FileNames


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "scene"
    for name in (
        "images/0001.png",
        "images/a b.jpg",
        "Images2/X.PNG",
        "top.png",
        "images/r_0.webp",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    return root


def names_of(folder: Path) -> tuple[FileNames, Notes]:
    notes = Notes()
    return FileNames(folder, folder, notes), notes


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("images/0001.png", "images/0001.png"),
        ("./images/0001.png", "images/0001.png"),
        ("images//0001.png", "images/0001.png"),
        ("images/../images/0001", "images/0001.png"),
        ("images/0001", "images/0001.png"),
        ("./images/r_0", "images/r_0.webp"),
        ("images/0001.jpg", "images/0001.png"),
        ("images\\0001.png", "images/0001.png"),
        (".\\images\\0001", "images/0001.png"),
        ("images/a%20b.jpg", "images/a b.jpg"),
        ("images%5C0001.png", "images/0001.png"),
        ("IMAGES/0001.PNG", "images/0001.png"),
        ("images2/x.png", "Images2/X.PNG"),
        ("images2/x", "Images2/X.PNG"),
        ("/home/somebody/scene/images/0001.png", "images/0001.png"),
        ("C:\\Users\\me\\scene\\images\\0001.png", "images/0001.png"),
        ("file:///home/somebody/images/0001.png", "images/0001.png"),
        ("0001.png", "images/0001.png"),
        ("data/scene/images/0001.png", "images/0001.png"),
        ("images/9999.png", None),
        ("nowhere/0002", None),
        ("images", None),
        ("\ud800.png", None),
    ],
)
def test_names(folder: Path, name: str, file: str | None) -> None:
    path = names_of(folder)[0].find(name)
    assert path is None if file is None else path.samefile(folder / file)


@pytest.mark.parametrize("name", ["../secret.png", "images/../../secret.png", "..\\secret.png",
                                  "%2e%2e/secret.png", ".."])  # fmt: skip
def test_names_that_lead_out_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(Dp3dError) as caught:
        names_of(folder)[0].find(name)
    assert "outside of the folder" in caught.value.problem
    assert str(folder.parent) in caught.value.remedy


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_out_are_refused(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "alias.png").symlink_to(folder / "top.png")
    names, _ = names_of(folder)
    for name in ("link.png", "linked/secret.png", "LINK.PNG", "Linked/Secret.png"):
        with pytest.raises(Dp3dError) as caught:
            names.find(name)
        assert "link" in caught.value.problem
    assert names.find("alias.png") == folder / "alias.png"


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "x" * 5000])
def test_invalid_names_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(Dp3dError) as caught:
        names_of(folder)[0].find(name)
    assert caught.value.code == "viewset.invalid"


def test_guessed_names_are_noted_once(folder: Path) -> None:
    names, notes = names_of(folder)
    for name in ("images/0001.png", "images/0001", "./images/0001.png"):
        names.find(name)
    assert notes.sentences(3) == []
    for name in ("images\\0001.png", "IMAGES/0001.png", "/home/x/images/0001.png"):
        names.find(name)
    slashes, likeliest = notes.sentences(9)
    assert "Backslashes" in slashes
    in_any_case = (folder / "IMAGES").exists()  # the usual disks of macOS and Windows
    example = "/home/x/images/0001.png" if in_any_case else "IMAGES/0001.png"
    assert f"'{example}' for 'images/0001.png'" in likeliest
    assert "/home/x" in likeliest


def test_accents_as_macos_writes_them(folder: Path) -> None:
    """Decomposed in the file of cameras, composed on the disk, and the other way round."""
    (folder / "images/caf\u00e9.png").write_bytes(b"")
    (folder / "images/tete\u0302.png").write_bytes(b"")
    names, notes = names_of(folder)
    for name, file in (("cafe\u0301", "caf\u00e9"), ("tet\u00ea", "tete\u0302")):
        assert names.find(f"images/{name}.png") == folder.resolve() / f"images/{file}.png"
    assert notes.sentences(2) == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("/home/me/scene/Images2/x.png", "Images2/X.PNG"),
        ("masks/0001.png", None),
        ("/home/me/masks/0001.png", None),
        ("masks/top.png", None),
    ],
)
def test_masks_are_never_looked_for_by_their_last_part(
    folder: Path, name: str, file: str | None
) -> None:
    path = names_of(folder)[0].find(name, mask=True)
    assert path == (None if file is None else folder.resolve() / file)
