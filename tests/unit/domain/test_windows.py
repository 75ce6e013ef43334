"""Windows cut from cumulative counters: pods come and go, counters begin again."""

from __future__ import annotations

from noria_operator.domain.verdict import Counts, Window
from noria_operator.domain.windows import SILENT, lately, mark, merge, since

OLD, NEW = "m-1-aaaaaa", "m-2-bbbbbb"


def arms(old: tuple[int, int], new: tuple[int, int]) -> dict[str, Counts]:
    return {OLD: Counts(*old), NEW: Counts(*new)}


def window(marks: dict[str, dict[str, Counts]], counts: dict[str, dict[str, Counts]]) -> Window:
    return since(marks, counts, champion=OLD, challenger=NEW)


def test_a_window_is_what_all_routers_added_since_the_marks() -> None:
    before = {"a": arms((100, 1), (10, 0)), "b": arms((50, 0), (5, 5))}
    after = {"a": arms((190, 2), (20, 1)), "b": arms((140, 0), (15, 5))}
    assert window(before, after) == Window(Counts(180, 1), Counts(20, 1))


def test_a_counter_that_fell_began_again_from_zero() -> None:
    assert window({"a": arms((100, 1), (10, 0))}, {"a": arms((7, 0), (3, 1))}) == Window(
        Counts(7, 0), Counts(3, 1)
    )


def test_each_counter_begins_again_by_itself() -> None:
    before = {"a": arms((100, 10), (10, 2))}
    assert window(before, {"a": arms((160, 9), (15, 1))}) == Window(Counts(60, 9), Counts(5, 1))
    assert window(before, {"a": arms((104, 9), (12, 2))}) == Window(Counts(4, 4), Counts(2, 0)), (
        "never more errors than requests"
    )


def test_refusals_are_no_errors_and_no_more_than_the_other_requests() -> None:
    before, after = {"a": {NEW: Counts(10, 1, 2)}}, {"a": {NEW: Counts(30, 11, 7)}}
    assert window(before, after).challenger == Counts(20, 10, 5)
    assert window({"a": {NEW: Counts(10, 1)}}, after).challenger == Counts(20, 10, 7), (
        "an older release's marks"
    )
    assert window({"a": {NEW: Counts(25, 1)}}, after).challenger == Counts(5, 5, 0)


def test_a_router_seen_for_the_first_time_adds_nothing_until_it_is_marked() -> None:
    """It may have counted since before this rollout began."""
    known = {"a": arms((100, 0), (10, 0))}
    counts = {"a": arms((110, 0), (11, 0)), "b": arms((9000, 90), (0, 0))}
    assert window(known, counts) == Window(Counts(10), Counts(1))
    later = {"a": counts["a"], "b": arms((9009, 90), (1, 1))}
    assert window(merge(known, counts, OLD, NEW), later) == Window(Counts(19), Counts(2, 1))


def test_a_cluster_that_a_known_router_had_not_counted_yet_starts_from_zero() -> None:
    assert window({"a": {OLD: Counts(5)}}, {"a": arms((9, 0), (4, 4))}) == Window(Counts(4), Counts(4, 4))


def test_marks_keep_the_two_arms_only() -> None:
    assert mark({"a": {OLD: Counts(5), "other": Counts(7)}}, OLD, NEW) == {
        "a": {OLD: Counts(5), NEW: Counts()}
    }


def test_of_pods_that_do_not_answer_as_many_are_known_as_of_those_that_do() -> None:
    known = {f"{number:03}": arms((100, 0), (10, 0)) for number in range(100)}
    assert lately(known, {"000": known["000"]}) == known, "nobody came"
    few = lately(known, {"new": arms((1, 0), (0, 0)), "000": known["000"]})
    assert list(few) == ["000", *(f"{number:03}" for number in range(1, SILENT + 1))]
    many = lately(known, {"new": arms((1, 0), (0, 0)), **dict(list(known.items())[:60])})
    assert many == known, "forty that were silent for a moment lose nothing"
