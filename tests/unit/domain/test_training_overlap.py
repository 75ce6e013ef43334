"""No model is judged on rows that it was trained on; what the champion has seen is said."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.domain.training_world import deployment, training_job, version

from noria_operator.api.parsing import parse_as
from noria_operator.api.trainingjob import Gate, TrainingJob, TrainingJobSpec
from noria_operator.domain.gates import Scores, judge
from noria_operator.domain.training_overlap import seen_by_champion, shared, unknown

Json = dict[str, Any]
LAKE, OTHER = "pvc://lake/flights", "s3://lake/flights"


def days(oldest: int, newest: int, by: str = "day") -> Json:
    return {"by": by, "oldest": f"2026-01-{oldest:02}", "newest": f"2026-01-{newest:02}", "count": 1}


def numbered(oldest: int, newest: int) -> Json:
    return {"by": "week", "oldest": str(oldest), "newest": str(newest), "count": 1}


def spec(**uris: str) -> TrainingJobSpec:
    data = [
        {"name": name, "uri": uri, "select": {"by": "day", "last": 7, "skip": 0}}
        for name, uri in uris.items()
    ]
    return parse_as(TrainingJob, training_job(data=data)).spec


@pytest.mark.parametrize(
    ("train", "holdout", "overlap"),
    [
        (days(1, 20), days(21, 27), False),
        (days(1, 21), days(21, 27), True),
        (days(1, 27), days(21, 27), True),
        (days(22, 24), days(21, 27), True),
        (days(28, 30), days(21, 27), False),
        (None, days(21, 27), True),
        (days(1, 20), None, True),
        (None, None, True),
        (days(1, 27, "hour"), days(21, 27), False),
        (numbered(1, 9), numbered(10, 12), False),
        (numbered(8, 12), numbered(11, 12), True),
    ],
)
def test_ranges_of_one_location_share_rows_or_do_not(train: Json, holdout: Json, overlap: bool) -> None:
    chosen = {name: one for name, one in (("train", train), ("holdout", holdout)) if one}
    said = shared(spec(train=LAKE, holdout=LAKE + "/"), chosen)
    assert bool(said) is overlap
    if overlap:
        assert "judged on rows that it was trained on" in said
        assert "let train skip what holdout reads, as with skip: 7" in said


@pytest.mark.parametrize(
    ("train", "holdout", "overlap"),
    [
        (LAKE, f"{LAKE}/day=2026-01-20", True),
        (LAKE, f"{LAKE}/day=2026-01-20/part-1", True),
        (LAKE, f"{LAKE}/day=2026-01-21", False),
        (LAKE, f"{LAKE}/hour=2026-01-20", False),
        (LAKE, f"{LAKE}/holdout", False),
        (f"{LAKE}/day=2026-01-20", LAKE, True),
    ],
)
def test_a_partition_that_is_named_by_its_path_is_known(train: str, holdout: str, overlap: bool) -> None:
    said = shared(spec(train=train, holdout=holdout), {"train": days(1, 20), "holdout": days(20, 21)})
    assert bool(said) is overlap


@pytest.mark.parametrize(
    ("train", "holdout", "overlap", "why"),
    [
        (LAKE, f"{LAKE}/day=2026-01-20", True, ""),
        ("pvc://lake", f"{LAKE}/day=2026-01-20", True, ""),
        (f"{LAKE}/day=2026-01-20", LAKE, True, ""),
        (LAKE, f"{LAKE}/holdout", False, f"train names no partitions of {LAKE}"),
        (f"{LAKE}/train", LAKE, False, f"train names a part of {LAKE}"),
        (f"{LAKE}/train", f"{LAKE}/holdout", False, ""),
        (f"{LAKE}/day=2026-01-19", f"{LAKE}/day=2026-01-20", False, ""),
    ],
)
def test_a_partition_of_what_is_read_whole_is_trained_on_and_of_a_folder_nobody_knows(
    train: str, holdout: str, overlap: bool, why: str
) -> None:
    """A trainer may read a part of what it is given: folders for either beside each other may be meant."""
    given = spec(train=train, holdout=holdout)
    assert bool(shared(given, {})) is overlap
    if not overlap:
        start = "not known whether the model was trained on these rows: "
        assert unknown(given, {}) == (start + why if why else "")


def test_whoever_names_a_whole_location_is_told_to_name_what_is_read_of_it() -> None:
    data = [{"name": "train", "uri": LAKE}, {"name": "holdout", "uri": f"{LAKE}/split=holdout"}]
    said = shared(parse_as(TrainingJob, training_job(data=data)).spec, {})
    assert said.endswith("; let train name the folder that it reads, or choose partitions by select")


def test_where_nobody_knows_what_the_model_was_trained_on_its_own_gates_say_so() -> None:
    gate = Gate(metric="auc", min=Decimal("0.5"))
    (verdict,) = judge([gate], Scores({"auc": "0.75"}, unknown="not known whether"))
    assert (verdict.passed, verdict.detail) == (True, "0.75 >= minimum 0.5; not known whether")


def test_other_locations_and_held_out_data_alone_share_nothing_that_is_known() -> None:
    assert shared(spec(train=OTHER, holdout=LAKE), {}) == ""
    assert shared(spec(holdout=LAKE), {}) == ""
    whole = training_job(evaluation=None, gates=None, data=[{"name": "train", "uri": LAKE}])
    assert shared(parse_as(TrainingJob, whole).spec, {}) == ""


@pytest.mark.parametrize(("trained", "seen"), [(days(1, 20), False), (days(1, 24), True)], ids=str)
def test_what_the_champion_was_trained_on_is_told_from_its_lineage(trained: Json, seen: bool) -> None:
    data = [
        {"name": "train", "uri": LAKE, "partitions": trained},
        {"name": "holdout", "uri": LAKE, "partitions": days(21, 27)},
    ]
    champion = version(1, lineage={"data": [{"name": "old"}, *data]})
    said = seen_by_champion(spec(train=LAKE, holdout=LAKE), {"holdout": days(21, 27)}, champion)
    assert bool(said) is seen
    if seen:
        assert said.startswith("flights-1 was trained on train (day 2026-01-01 to 2026-01-24)")


def test_what_the_champion_was_judged_on_it_was_not_trained_on_whatever_it_is_called() -> None:
    data = [{"name": "last-week", "uri": LAKE, "partitions": days(21, 27), "heldOut": True}]
    champion = version(1, lineage={"data": data})
    assert seen_by_champion(spec(train=LAKE, holdout=LAKE), {"holdout": days(21, 27)}, champion) == ""


@pytest.mark.parametrize("says", [True, False])
def test_what_is_held_out_by_now_the_champion_may_have_been_trained_on(says: bool) -> None:
    """Where its lineage says what it was judged on; else that has the name of what is held out now."""
    judged = [{"name": "test", "uri": OTHER, "heldOut": True}] if says else []
    data = [{"name": "holdout", "uri": LAKE, "partitions": days(1, 24)}, *judged]
    said = seen_by_champion(
        spec(train=LAKE, holdout=LAKE), {"holdout": days(21, 27)}, version(1, lineage={"data": data})
    )
    assert said.startswith("flights-1 was trained on holdout (day 2026-01-01 to 2026-01-24)") is says


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ([], "flights-1 names no data"),
        ([{"name": "train", "uri": LAKE}], f"flights-1 names no partitions of {LAKE}"),
        ([{"name": "train", "uri": "pvc://lake"}], "flights-1 names no partitions of pvc://lake"),
        ([{"name": "train", "uri": LAKE, "partitions": days(1, 20, "hour")}], "names hour and not day"),
        ([{"name": "train", "uri": OTHER}], ""),
        ([{"name": "train", "uri": "pvc://lake/flights-of-old"}], ""),
        ([{"name": "train", "uri": LAKE, "partitions": days(1, 20)}], ""),
        ([{"name": "last-week", "uri": LAKE, "heldOut": True}], ""),
        ([{"name": "train", "uri": "what ever"}], ""),
    ],
    ids=str,
)
def test_where_nobody_knows_what_the_champion_was_trained_on_that_is_said(data: list[Json], why: str) -> None:
    champion = version(1, lineage={"data": data})
    said = seen_by_champion(spec(train=LAKE, holdout=LAKE), {"holdout": days(21, 27)}, champion)
    assert said.startswith("not known whether the champion was trained on these rows: ") is bool(why)
    assert why in said


def test_what_is_known_of_the_champion_is_said_before_what_is_not() -> None:
    data = [{"name": "old", "uri": "pvc://lake"}, {"name": "train", "uri": LAKE, "partitions": days(1, 24)}]
    champion = version(1, lineage={"data": data})
    said = seen_by_champion(spec(train=LAKE, holdout=LAKE), {"holdout": days(21, 27)}, champion)
    assert said.startswith("flights-1 was trained on train")
    whole = seen_by_champion(spec(train=OTHER, holdout="pvc://lake"), {}, champion)
    assert whole.startswith("not known"), "all of a location that holds what it was trained on"


def test_without_a_champion_nothing_was_seen() -> None:
    assert deployment(None)
    assert seen_by_champion(spec(train=LAKE, holdout=LAKE), {}, None) == ""
