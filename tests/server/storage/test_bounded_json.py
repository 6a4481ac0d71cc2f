"""Bounds on JSON from clients."""

from __future__ import annotations

import json

import pytest

from server.storage.bounded_json import MAX_DEPTH, MAX_TEXT, parse_bounded
from tests.conftest import REPOSITORY

ATTACKS = REPOSITORY.parent / "shared" / "data" / "server_attacks"


def frames(count):
    matrix = [[0.123456789012345] * 4] * 4
    frame = {"camera_world": matrix, "anchor_world": matrix, "projection": matrix}
    return {"cameras": {"frames": [{**frame, "width": 512, "height": 512}] * count}}


def test_the_longest_path_of_blender_is_accepted():
    assert parse_bounded(json.dumps(frames(4096), indent=1).encode()) == frames(4096)


@pytest.mark.parametrize("depth", [1, MAX_DEPTH])
def test_nesting_up_to_the_limit_is_accepted(depth):
    assert parse_bounded(b"[" * depth + b"]" * depth) is not None


def nested(depth, opening=b'{"a":', end=b"}"):
    return opening * depth + b"1" + end * depth


@pytest.mark.parametrize(
    "body",
    [
        nested(MAX_DEPTH + 1),
        nested(253),
        nested(962),
        nested(100_000),
        nested(MAX_DEPTH + 1, b"[", b"]"),
        b'{"a":' + b'["]]]]",' * (MAX_DEPTH + 1),  # brackets in texts close nothing
        b'["\\"' + b"[" * 9 + b'", ' + b"[" * 20 + b"]" * 21,
        b"[" + b"[]," * 200_000 + b"[]]",
        b"[" + b"1," * 500_000 + b"1]",
        b"[" + b'"",' * 150_000 + b'""]',
        b'["' + b"x" * (MAX_TEXT + 1) + b'"]',
        b'{"' + b"x" * (MAX_TEXT + 1) + b'": 1}',
        b'{"a": 1, "a": 2}',
        b'{"b": {"a": 1, "\\u0061": 2}}',
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[-1e400]",
        b"[9007199254740993]",
        b"[1" + b"0" * 5000 + b"]",
        b'["\\ud800"]',
        b'{"\\udfff": 1}',
        b'["\\u0000"]',
        b'["\xff"]',
        b"\xef\xbb\xbf[]",
        b"\x00[]",
        b"",
        b"{",
        b"[1] [2]",
        b"'a'",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_bodies_beyond_a_limit_are_refused(body):
    with pytest.raises(ValueError, match=r"."):
        parse_bounded(body)


def test_a_surrogate_pair_is_one_character():
    assert parse_bounded(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


@pytest.mark.parametrize("name", ["deep_300.json", "deep_962.json", "deep_964.json"])
def test_deep_bodies_of_a_known_attack_are_refused(name):
    if not ATTACKS.is_dir():
        pytest.skip("needs ../shared/data/server_attacks")
    with pytest.raises(ValueError, match="levels deep"):
        parse_bounded((ATTACKS / name).read_bytes())


def test_an_unclosed_string_is_refused():
    with pytest.raises(ValueError, match=r"JSON|Unterminated|texts"):
        parse_bounded(b'{"a": "' + rb"\"" * 90_000)
