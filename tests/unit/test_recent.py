"""What nobody used for longest goes first."""

from __future__ import annotations

from noria_operator.recent import Recent


def test_what_was_neither_written_nor_used_for_longest_goes_first() -> None:
    kept = Recent[str, int](3)
    for key in "abc":
        kept[key] = 1
    kept["a"] = 2
    assert kept.get("b") == 1, "a look alone keeps nothing"
    assert kept.used("b") == 1
    kept["d"] = 1
    assert [*kept] == ["a", "b", "d"]
    assert (kept.get("a"), kept.get("c"), kept.get("c", 0), kept.used("c")) == (2, None, 0, None)


def test_entries_are_bounded_by_what_is_in_them_too() -> None:
    kept = Recent[str, str](9, size=len, room=5)
    for key, value in {"a": "12", "b": "3", "c": "45"}.items():
        kept[key] = value
    assert kept.size == 5
    kept["b"] = "34"
    assert ([*kept], kept.size) == (["c", "b"], 4)
    kept["d"] = "much more"
    assert ([*kept], kept.size) == ([], 0)


def test_what_is_forgotten_leaves_room() -> None:
    kept = Recent[int, str](9, size=len, room=4)
    kept[1], kept[2] = "ab", "cd"
    kept.forget(lambda key: key == 1)
    kept[3] = "ef"
    assert ([*kept], len(kept), kept.size) == ([2, 3], 2, 4)
