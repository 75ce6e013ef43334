"""What the flights example makes of the raw frames: features without hindsight, a sample, a lake."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from examples.flights import lake, plan
from examples.flights.data import SEED_BEFORE, seed
from examples.flights.features import DAY, FEATURES, LABEL, table
from examples.flights.model import pipeline
from examples.flights.sabotage import hour_table


def test_the_weather_is_the_one_of_three_hours_before(flights: pd.DataFrame, weather: pd.DataFrame) -> None:
    rows = table(flights, weather)
    assert (rows["humid"] == rows["minute_of_day"] // 60 - 3).all()


def test_no_feature_changes_when_the_flight_turns_out_differently(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    other = flights.assign(dep_delay=999.0, arr_delay=999.0, air_time=1.0)
    pd.testing.assert_frame_equal(
        table(flights, weather)[list(FEATURES)], table(other, weather)[list(FEATURES)]
    )


def test_late_means_more_than_fifteen_minutes(flights: pd.DataFrame, weather: pd.DataFrame) -> None:
    delays = pd.concat([flights.iloc[[0]].assign(arr_delay=minutes) for minutes in (15.0, 16.0)])
    assert table(delays, weather)[LABEL].tolist() == [0.0, 1.0]


def test_a_cancelled_flight_is_asked_about_but_its_outcome_is_never_known(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    rows = table(flights, weather)
    cancelled = [flight for flight in plan.flights(rows) if flight.known is None]
    assert len(cancelled) == 3
    assert all(flight.late is None for flight in cancelled)


def test_an_outcome_is_known_after_the_flight_was_asked_about(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    known = [flight for flight in plan.flights(table(flights, weather)) if flight.known is not None]
    assert all(flight.known is not None and flight.known > flight.asked for flight in known)


def test_the_sample_starts_in_march_and_is_the_same_in_any_order(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    rows = table(flights, weather)
    sampled = plan.sample(rows, one_in=4)
    assert len(sampled) == 8
    assert sampled["date"].min() == "2013-03-01"
    shuffled = plan.sample(rows.sample(frac=1, random_state=1), one_in=4)
    assert plan.flights(sampled) == plan.flights(shuffled)


def test_a_request_has_one_tensor_a_feature_and_no_outcome(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    row = table(flights, weather).iloc[9].to_dict()
    tensors = json.loads(plan.body(row))["inputs"]
    assert [tensor["name"] for tensor in tensors] == list(FEATURES)
    by_name = {tensor["name"]: tensor for tensor in tensors}
    assert by_name["carrier"]["data"] == ["UA"]
    assert by_name["pressure"]["data"] == [None], "a missing number is null"


def test_days_come_in_the_order_in_which_they_are_known(flights: pd.DataFrame, weather: pd.DataFrame) -> None:
    days = plan.days(table(flights, weather))
    assert [day.date for day in days] == ["2013-03-01", "2013-03-02"]
    assert days[0].known > days[0].rows["asked"].max()


def test_the_clock_is_shown_as_a_date() -> None:
    assert plan.date_of(0) == "2013-01-01"
    assert plan.date_of(59 * 24 * 60) == "2013-03-01"


def test_seeding_writes_the_days_before_march_and_does_so_once(
    flights: pd.DataFrame, weather: pd.DataFrame, tmp_path: Path
) -> None:
    rows = table(flights, weather)
    assert seed(tmp_path, rows) == 15
    assert seed(tmp_path, rows) == 0
    for name in (lake.FLIGHTS, lake.HOURS):
        assert [entry.name for entry in (tmp_path / name).iterdir()] == ["day=2013-02-28"]


def test_a_day_in_the_lake_holds_labelled_flights_with_whole_labels(
    flights: pd.DataFrame, weather: pd.DataFrame, tmp_path: Path
) -> None:
    rows = table(flights, weather)
    lake.write_day(tmp_path, "2013-03-01", rows[rows["date"] == "2013-03-01"])
    stored = pd.read_parquet(tmp_path / lake.FLIGHTS / "day=2013-03-01")
    assert list(stored.columns) == [*FEATURES, LABEL]
    assert stored[LABEL].dtype == "int64"
    assert len(stored) == 15


def test_the_table_of_hours_ends_with_the_lake(
    flights: pd.DataFrame, weather: pd.DataFrame, tmp_path: Path
) -> None:
    rows = table(flights, weather)
    seed(tmp_path, rows)
    known = rows[(rows["date"] < SEED_BEFORE) & rows[LABEL].notna()]
    shares = hour_table(pd.read_parquet(tmp_path / lake.HOURS / "day=2013-02-28"))
    assert len(shares) == 24 * (int(known[DAY].max()) + 1)
    of_hour = known[LABEL].groupby(known[DAY] * 24 + known["minute_of_day"] // 60).mean()
    assert {int(hour): shares[int(hour)] for hour in of_hour.index} == pytest.approx(of_hour.to_dict())
    assert of_hour.max() > 0


def test_the_honest_model_does_not_look_at_the_day(flights: pd.DataFrame, weather: pd.DataFrame) -> None:
    rows = table(flights, weather).dropna(subset=[LABEL])
    inputs = rows[list(FEATURES)]
    model = pipeline().fit(inputs, rows[LABEL])
    later = inputs.assign(**{DAY: 300.0})
    assert (model.predict_proba(inputs) == model.predict_proba(later)).all()


def test_an_unknown_feature_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match="choose from carrier"):
        pipeline(features=["dep_delay"])
