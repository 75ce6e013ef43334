"""What labels of several classes cost: the mean over rows, and as sure of itself as it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix
from tests.unit.domain.training_world import NOW

from noria_operator.api.triggers import CostMatrix, TriggerSpec
from noria_operator.domain.classes import Classes
from noria_operator.domain.costs import Costs
from noria_operator.domain.fairness import Slicing
from noria_operator.domain.performance import EXPECTED_COST, Errors, Measured, measure, unsuitable
from noria_operator.domain.quality import Labels
from noria_operator.domain.slice_quality import SliceLabels
from noria_operator.domain.tasks import BINARY, MULTICLASS
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_labels import wording
from noria_operator.domain.triggers_performance import performance
from noria_operator.domain.triggers_slices import performance_by_slice
from noria_serving.contract import SCORE_BINS

NAMES = ("fine", "fraud", "unsure")
PRICES = np.array([[0.0, 3.0, 1.0], [40.0, -5.0, 1.0], [1.0, 1.0, 0.0]])
PAIRS = (("fraud", "fine", "40"), ("fine", "fraud", "3"), ("fraud", "fraud", "-5"))
SHARES = np.array([60, 3, 2, 2, 20, 1, 2, 1, 9], dtype=float) / 100


def matrix(*pairs: tuple[str, str, str], **of_two: str) -> dict[str, Any]:
    told = [{"label": label, "predicted": predicted, "cost": cost} for label, predicted, cost in pairs]
    return of_two | ({"classes": told} if told else {})


def costs(*pairs: tuple[str, str, str], **of_two: str) -> Costs:
    return Costs.of(CostMatrix.model_validate(matrix(*pairs, **of_two)))


def labelled(table: Any, names: tuple[str, ...] = NAMES, *, strange: int = 0) -> Classes:
    """Of the rows of the table, and so many more of a class that the version does not know."""
    counts = np.asarray(table).ravel()
    right = int(counts.reshape(len(names) or 3, -1).trace())
    sides = [[0] * SCORE_BINS, [0] * SCORE_BINS]
    sides[0][160], sides[1][160] = int(counts.sum()) - right + strange, right
    return Classes(Labels.of(*sides), tuple(counts.tolist()), (), names)


def value(joined: Labels | Classes, prices: Costs) -> Measured:
    found = measure(EXPECTED_COST, joined, prices)
    assert found is not None
    return found


def test_the_mean_and_its_variance_are_those_of_the_rows() -> None:
    rng = np.random.default_rng(1)
    truth, said = np.divmod(rng.choice(9, size=700, p=SHARES), 3)
    found = value(labelled(confusion_matrix(truth, said)), costs(*PAIRS))
    each = PRICES[truth, said]
    assert found.value == pytest.approx(each.mean(), abs=1e-12)
    assert found.error == pytest.approx(each.std() / np.sqrt(700), abs=1e-12)


def test_intervals_hold_the_truth_in_about_95_of_100_windows() -> None:
    rng, truth = np.random.default_rng(2), float((SHARES * PRICES.ravel()).sum())
    windows = [value(labelled(rng.multinomial(600, SHARES)), costs(*PAIRS)) for _ in range(200)]
    assert 180 <= sum(one.low <= truth <= one.high for one in windows) <= 200


def test_without_prices_each_mistake_costs_one_whatever_classes_are_called() -> None:
    table = [[50, 3, 2], [4, 20, 1], [5, 6, 9]]
    assert value(labelled(table, ()), Costs()).value == pytest.approx(21 / 100)
    assert value(labelled(table), costs(("fraud", "fine", "2"))).value == pytest.approx(25 / 100)


def test_a_window_without_a_mistake_is_not_sure_of_it() -> None:
    found = value(labelled(np.diag([50, 40, 10])), costs(("fraud", "fine", "40")))
    assert (found.value, found.error) == (0.0, pytest.approx(40 / 100))
    assert measure(EXPECTED_COST, labelled([[0] * 3] * 3), costs(*PAIRS)) is None


@given(
    st.lists(st.integers(0, 500), min_size=4, max_size=4).filter(any),
    st.lists(st.integers(-90, 90), min_size=4, max_size=4),
)
def test_of_two_classes_it_is_what_the_prices_of_two_say(counts: list[int], prices: list[int]) -> None:
    tn, fp, fn, tp = counts
    sides = [[0] * SCORE_BINS, [0] * SCORE_BINS]
    sides[0][10], sides[0][190], sides[1][10], sides[1][190] = tn, fp, fn, tp
    places = [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]
    named = costs(*((*place, str(price)) for place, price in zip(places, prices, strict=True)))
    of_two = Costs(prices[1], prices[2], prices[3], prices[0])
    assert value(labelled(counts, ("a", "b")), named) == value(Labels.of(*sides), of_two)


@pytest.mark.parametrize(
    ("label", "names"),
    [("1", ("0", "1", "2")), ("1.0", ("0", "1", "2")), ("1.0", ("0.0", "1.0", "2.0"))],
)
def test_numbers_are_classes_however_they_are_written(label: str, names: tuple[str, ...]) -> None:
    """Of bundles whole ones are called 1; texts are what they are."""
    joined = labelled([[5, 0, 0], [5, 0, 0], [0, 0, 0]], names)
    told = costs((label, names[0], "40"))
    assert unsuitable(EXPECTED_COST, joined, told) == ""
    assert value(joined, told).value == 20


@pytest.mark.parametrize(
    ("told", "joined", "says"),
    [
        (costs(*PAIRS), labelled([0] * 9), ""),
        (Costs(), labelled([0] * 9, ()), ""),
        (costs(falsePositive="1.0"), labelled([0] * 9), ""),
        (costs(("fruad", "fine", "1")), labelled([0] * 9), "names 'fruad', and the classes that the version "
         "knows are 'fine', 'fraud', 'unsure'"),
        (costs(("fraud", "fien", "1")), labelled([0] * 9), "names 'fien'"),
        (costs(*PAIRS), labelled([0] * 9, ()), "noria.dev/restart"),
        (costs(("1", "0", "4"), ("1.0", "0", "5")), labelled([0] * 9, ("0", "1", "2")),
         "says twice what '1' predicted as '0' costs"),
        (costs(falseNegative="10"), labelled([0] * 9), "name pairs in costMatrix.classes"),
        (costs(*PAIRS), Labels.of([9] * SCORE_BINS, [9] * SCORE_BINS), "of two, use falsePositive, falseN"),
        (costs(*PAIRS), Labels.none(), ""),
        (costs(*PAIRS), Errors(1), "cannot be told of a regression"),
        (costs(*PAIRS), Classes(Labels.none()), "more than 20 classes; use one of accuracy"),
    ],
)  # fmt: skip
def test_prices_that_do_not_fit_the_model_are_refused(
    told: Costs, joined: Labels | Classes | Errors, says: str
) -> None:
    found = unsuitable(EXPECTED_COST, joined, told)
    assert (says in found) if says else not found


def test_many_long_names_make_no_long_sentence() -> None:
    names = tuple(f"{number}{'x' * 250}" for number in range(20))
    told = costs(*((f"y{name}", name, "1") for name in names))
    found = unsuitable(EXPECTED_COST, labelled([0] * 400, names), told)
    assert "and 12 more" in found
    assert len(found) < 900, "of 1024 that status has room for"


# -- the trigger ---------------------------------------------------------------------------------------------


def trigger(*pairs: tuple[str, str, str], **fields: Any) -> TriggerSpec:
    rule = {"metric": "expectedCost", "minLabels": 1000, "costMatrix": matrix(*pairs)}
    rule |= fields or {"relativeDrop": "0.2"}
    return TriggerSpec.model_validate({"name": "costs", "performance": rule})


def asked(
    spec: TriggerSpec, entry: dict[str, Any], joined: Classes | None, hours: int, version: str = "m-1"
) -> Request:
    rule, now = spec.performance, NOW + timedelta(hours=hours)
    assert rule is not None
    return performance(spec, rule, entry, champion=Champion(version, {}), labels=joined, now=now)


CHEAP = labelled([[800, 10, 10], [2, 150, 3], [5, 5, 15]])
DEAR = labelled([[800, 10, 10], [100, 52, 3], [5, 5, 15]])


@pytest.mark.parametrize(
    "fields",
    [{"relativeDrop": "0.2"}, {"max": "0.5"}, {"cost": {"pointDay": "1", "run": "40"}}],
    ids=["drop", "bound", "cost"],
)
def test_mistakes_that_cost_more_are_a_loss_though_there_are_hardly_more_of_them(fields: Any) -> None:
    spec, entry = trigger(*PAIRS, **fields), asked(trigger(*PAIRS, **fields), {}, None, 0).entry
    for hours in (1, 2):
        calm = asked(spec, entry, CHEAP, hours)
        assert not calm.wanted
        entry = calm.entry
    lost = asked(spec, entry, DEAR, 30)
    lost = asked(spec, lost.entry, DEAR, 60)
    assert (lost.wanted, lost.entry["decision"]) == (True, "Fire")
    assert lost.entry["value"] == f"{(10 * 3 + 10 + 100 * 40 - 52 * 5 + 3 + 5 + 5) / 1000:.3f}"


def test_prices_are_compared_by_what_they_come_to() -> None:
    def told(*pairs: tuple[str, str, str]) -> str:
        rule = trigger(*pairs).performance
        assert rule is not None
        return wording(rule)

    assert told(*PAIRS) == told(*reversed(PAIRS)) == told(*PAIRS, ("unsure", "fine", "1.00"))
    assert told(*PAIRS) != told(*PAIRS[:2])
    assert told() == told(("unsure", "fine", "1.0")) == "expectedCost labelled 1.0 1.0 0.0 0.0"
    assert len(told(*((str(one), str(other), "7") for one in range(20) for other in range(20)))) < 60


def test_an_edited_price_begins_anew() -> None:
    entry = asked(trigger(*PAIRS), asked(trigger(*PAIRS), {}, None, 0).entry, CHEAP, 1).entry
    edited = asked(trigger(*PAIRS[:2]), entry, CHEAP, 2)
    assert (edited.entry["reason"], edited.entry.get("best")) == ("WindowOpen", None)


def test_a_class_that_the_next_version_learns_is_told_of_until_it_is_served() -> None:
    spec = trigger(*PAIRS, ("new", "fine", "90"))
    opened = asked(spec, {}, None, 0).entry
    wrong = asked(spec, opened, labelled([0] * 9), 1)
    assert (wrong.wanted, wrong.entry["decision"], wrong.entry["reason"]) == (
        False,
        "Error",
        "MetricUnsuitable",
    )
    assert wrong.entry["message"] == (
        "costMatrix.classes names 'new', and the classes that the version knows are 'fine', 'fraud', "
        "'unsure' (m-1)"
    )
    table = np.diag([500, 200, 100, 200])
    served = asked(spec, wrong.entry, None, 2, version="m-2").entry
    assert served["reason"] == "WindowOpen"
    known = asked(spec, served, labelled(table, (*NAMES, "new")), 3, version="m-2").entry
    assert (known["decision"], known["reason"]) == ("No", "FirstWindow")


def test_servers_that_do_not_tell_names_are_told_when_a_window_closes() -> None:
    spec = trigger(*PAIRS)
    opened = asked(spec, {}, None, 0).entry
    assert asked(spec, opened, labelled(np.diag([9, 9, 9]), ()), 1).entry == opened
    closed = asked(spec, opened, labelled(np.diag([900, 90, 10]), ()), 1).entry
    assert closed["reason"] == "MetricUnsuitable"
    assert asked(spec, closed, labelled(np.diag([90, 90, 10])), 2).entry == opened


def test_labels_of_classes_that_are_not_known_are_said_to_be_left_out() -> None:
    spec = trigger(*PAIRS)
    opened = asked(spec, {}, None, 0).entry
    found = asked(spec, opened, labelled(np.diag([900, 90, 10]), strange=30), 1).entry
    assert "on 1000 of 1030 labels of m-1" in found["message"]


@pytest.mark.parametrize(
    ("task", "pairs", "says"),
    [(MULTICLASS, (), "use one of accuracy"), (BINARY, PAIRS, "of two, use falsePositive")],
)
def test_by_slice_several_classes_have_no_costs(task: str, pairs: Any, says: str) -> None:
    spec = trigger(*pairs, max="0.5", bySlice=True)
    rule, champion = spec.performance, Champion("m-1", {})
    assert rule is not None
    split = Slicing("sex", ("f", "m"))
    counts = {f"{split.feature}={group}": (9, 9, 9, 9) for group in split.groups}
    entry: dict[str, Any] = {}
    for hours in (0, 1):
        entry = performance_by_slice(
            spec, rule, entry, champion=champion, labels=SliceLabels(counts, task, 72),
            now=NOW + timedelta(hours=hours),
        ).entry  # fmt: skip
    assert entry["reason"] == "MetricUnsuitable"
    assert says in entry["message"]
