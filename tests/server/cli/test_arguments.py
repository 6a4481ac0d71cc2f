"""Numbers of the command line: the range of the help is the range that is checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import Range
from server.cli.arguments import check_numbers, number, sides_and_paths
from server.cli.generate import Generate


@dataclass
class Command:
    free: int = 10**9
    few: Annotated[int, number("Some", Range(1, 3))] = 2
    many_parts: Annotated[tuple[int, ...], number("Parts", Range(0, 5))] = (0, 5)


def test_numbers_in_their_ranges_are_taken():
    check_numbers("bench.bad_option", Command())


@pytest.mark.parametrize(
    ("command", "option", "limits"),
    [
        (Command(few=4), "--few 4", Range(1, 3)),
        (Command(many_parts=(1, 6)), "--many-parts 6", Range(0, 5)),
    ],
)
def test_others_are_refused_with_option_and_range(command, option, limits):
    with pytest.raises(Dp3dError) as error:
        check_numbers("bench.bad_option", command)
    assert error.value.code == "bench.bad_option"
    assert error.value.problem == f"{option} is out of range."
    assert str(limits) in error.value.remedy


def test_named_fields_alone_are_checked():
    check_numbers("bench.bad_option", Command(few=4), "many_parts")
    with pytest.raises(Dp3dError):
        check_numbers("bench.bad_option", Command(few=4), "few")


def further(*arguments):
    command = tyro.cli(Generate, args=["FRONT.jpg", "--out", "v", *arguments])
    return sides_and_paths(command.also)


def test_further_photos_have_a_side_by_hand_or_none():
    assert further() == []
    assert further("--also", "LEFT.jpg", "back:BACK.jpg") == [
        ("auto", Path("LEFT.jpg")),
        ("back", Path("BACK.jpg")),
    ]
    assert further("--also", "a.jpg", "--seed", "1", "--also", "right:b.jpg") == [
        ("auto", Path("a.jpg")),
        ("right", Path("b.jpg")),
    ]


def test_a_drive_of_windows_is_no_side():
    assert further("--also", "C:\\x.jpg", "left:C:\\y.jpg", "./back:z.jpg") == [
        ("auto", Path("C:\\x.jpg")),
        ("left", Path("C:\\y.jpg")),
        ("auto", Path("./back:z.jpg")),
    ]


@pytest.mark.parametrize("text", ["middle:photo.jpg", "upside:a.jpg", "Back:a.jpg"])
def test_an_unknown_side_is_named_with_those_that_there_are(text):
    with pytest.raises(Dp3dError) as error:
        further("--also", text)
    assert error.value.code == "portrait.not_found"
    assert repr(text.split(":")[0]) in error.value.problem
    assert "auto, front, left, back, right" in error.value.remedy


@pytest.mark.skipif(os.name == "nt", reason="names without colons")
def test_a_file_with_a_colon_in_its_name_is_a_photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("middle:a.jpg").touch()
    assert further("--also", "middle:a.jpg") == [("auto", Path("middle:a.jpg"))]
