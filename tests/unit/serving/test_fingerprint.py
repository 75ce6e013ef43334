"""Stored data has one fingerprint as long as it stays what it is."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from noria_serving.errors import NoriaError, Reason
from noria_serving.fingerprint import files_in, fingerprint, md5_of, summed

DVC = """outs:
- md5: 0123456789abcdef0123456789abcdef.dir
  size: 1234
  nfiles: 7
  hash: md5
  path: flights
"""
FROZEN = """md5: ffffffffffffffffffffffffffffffff
frozen: true
deps:
- path: data.xml
  md5: eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
outs:
- md5: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
  path: data.xml
meta:
  md5: cccccccccccccccccccccccccccccccc
"""


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for day in range(3):
        folder = tmp_path / "lake" / f"day={day}"
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_text(f"a,b\n{day},1\n")
    return tmp_path / "lake"


def digest(place: Path, **env: str) -> str:
    return str(fingerprint({"NORIA_LOCATION": str(place), **env})["digest"])


def test_two_looks_at_the_same_files_are_equal_and_name_what_was_seen(lake: Path) -> None:
    found = fingerprint({"NORIA_LOCATION": str(lake)})
    assert found == fingerprint({"NORIA_LOCATION": str(lake)})
    assert (found["schema"], found["files"], found["bytes"]) == ("noria.fingerprint/v1", 3, 24)


def test_a_file_more_a_file_less_a_new_name_and_a_new_time_are_changes(lake: Path) -> None:
    seen = [digest(lake)]
    (lake / "day=3.csv").write_text("a,b\n")
    seen.append(digest(lake))
    (lake / "day=3.csv").rename(lake / "day=4.csv")
    seen.append(digest(lake))
    os.utime(lake / "day=4.csv", (1, 1))
    seen.append(digest(lake))
    (lake / "day=0" / "rows.csv").unlink()
    seen.append(digest(lake))
    assert len(set(seen)) == 5


def test_links_are_not_followed_and_a_single_file_is_looked_at(lake: Path, tmp_path: Path) -> None:
    before = digest(lake)
    (lake / "link").symlink_to(tmp_path)
    (lake / "passwd").symlink_to("/etc/passwd")
    assert digest(lake) == before
    assert fingerprint({"NORIA_LOCATION": str(lake / "day=0" / "rows.csv")})["files"] == 1


def test_the_order_in_which_files_are_listed_does_not_matter() -> None:
    files = [(f"f{number}", number, "e") for number in range(50)]
    shuffled = random.Random(7).sample(files, 50)
    assert summed(files) == summed(shuffled)
    assert summed([("a", 1, "b"), ("a", 1, "b")])["digest"] != summed([])["digest"]
    assert summed([("1:a", 0, "")])["digest"] != summed([("a", 0, "")])["digest"]


def test_objects_of_a_store_are_told_apart_by_their_etags() -> None:
    store = MemoryStore()
    store.put("a/x", b"one")
    first = summed(files_in(store))
    assert first == summed(files_in(store))
    store.put("a/x", b"two")
    assert summed(files_in(store))["digest"] != first["digest"]


@pytest.mark.parametrize(("text", "md5"), [(DVC, "0123456789abcdef0123456789abcdef"), (FROZEN, "a" * 32)])
def test_a_dvc_file_speaks_by_the_md5_of_what_it_tracks(lake: Path, text: str, md5: str) -> None:
    assert md5_of(text) == md5
    (lake / "flights.dvc").write_text(text)
    found = fingerprint({"NORIA_LOCATION": str(lake), "NORIA_DVC_FILE": "flights.dvc"})
    assert found["digest"] == f"md5:{md5}"
    assert (found["files"], found["bytes"]) == ((7, 1234) if text is DVC else (1, 0))


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({}, Reason.CONFIGURATION),
        ({"NORIA_LOCATION": "/no/such/place"}, Reason.NOT_FOUND),
        ({"NORIA_DVC_FILE": "gone.dvc"}, Reason.NOT_FOUND),
        ({"NORIA_DVC_FILE": "empty.dvc"}, Reason.DATA_INVALID),
    ],
)
def test_what_cannot_be_looked_at_is_said(lake: Path, env: dict[str, str], reason: Reason) -> None:
    (lake / "empty.dvc").write_text("deps:\n- md5: eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\n")
    with pytest.raises(NoriaError) as refusal:
        fingerprint(({"NORIA_LOCATION": str(lake)} if "NORIA_DVC_FILE" in env else {}) | env)
    assert refusal.value.reason is reason
