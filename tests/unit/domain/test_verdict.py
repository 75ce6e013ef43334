"""The verdict against the published check values, a brute-force computation, and its own rules."""

from __future__ import annotations

import re
from itertools import pairwise
from math import exp, inf, isclose, log, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.latency import comparison
from noria_operator.domain.verdict import (
    HARM_RATIOS,
    OK_RATIOS,
    Counts,
    Evidence,
    Judgement,
    Verdict,
    Window,
    decide,
    log_mean_exp,
    step,
    together,
)

S1 = (0, 1, 0, 2, 3)
S = (4, 6, 5, 7, 6)
W = (0.05, 0.05, 0.1, 0.1, 0.25)
LOG_E_HARM = (-0.843087, -0.497922, -1.269453, -0.616650, 0.062031)
LOG_E_OK = (0.248681, -0.437192, 0.123837, -0.867215, -1.625295)


def window(requests: int, share: float, errors: int, challenger_errors: int) -> Window:
    challenger = round(requests * share)
    return Window(
        Counts(requests - challenger, errors - challenger_errors), Counts(challenger, challenger_errors)
    )


def clean(requests: int) -> Evidence:
    return step(Evidence(), Window(Counts(requests), Counts(requests)))


def test_running_e_values_equal_the_reference_vectors() -> None:
    evidence = Evidence()
    for s1, s, w, harm, ok in zip(S1, S, W, LOG_E_HARM, LOG_E_OK, strict=True):
        evidence = step(evidence, window(1000, w, s, s1))
        assert evidence.log_e_harm == pytest.approx(harm, abs=5e-7)
        assert evidence.log_e_ok() == pytest.approx(ok, abs=5e-7)


@pytest.mark.parametrize(
    ("requests", "expected"), [(100, 2.24647), (299, 12.30394), (353, 19.85298), (354, 20.03081)]
)
def test_the_absolute_test_without_errors_equals_the_reference(requests: int, expected: float) -> None:
    assert exp(clean(requests).log_e_abs(0.01)) == pytest.approx(expected, abs=5e-6)


def test_the_harm_grid_has_fourteen_log_spaced_ratios_from_1_25_to_32() -> None:
    assert len(HARM_RATIOS) == 14
    assert (HARM_RATIOS[0], HARM_RATIOS[-1]) == pytest.approx((1.25, 32.0))
    steps = [b / a for a, b in pairwise(HARM_RATIOS)]
    assert steps == pytest.approx([steps[0]] * 13)


arms = st.tuples(st.integers(0, 60), st.integers(0, 5)).map(lambda x: Counts(x[0] + x[1], x[1]))


@given(st.lists(st.tuples(arms, arms).map(lambda pair: Window(*pair)), min_size=1, max_size=6))
def test_accumulated_logarithms_equal_the_products_written_out(windows: list[Window]) -> None:
    evidence = Evidence()
    for one in windows:
        evidence = step(evidence, one)

    def harm(theta: float) -> float:
        return prod(
            theta**x.challenger.errors
            / (1 + x.share * (theta - 1)) ** (x.challenger.errors + x.champion.errors)
            for x in windows
        )

    def ok(theta: float) -> float:
        return prod(
            (theta / 2) ** x.challenger.errors
            * ((1 + x.share) / (1 + x.share * (theta - 1))) ** (x.challenger.errors + x.champion.errors)
            for x in windows
        )

    def absolute(p: float) -> float:
        return prod(
            (p / 0.01) ** x.challenger.errors
            * ((1 - p) / 0.99) ** (x.challenger.requests - x.challenger.errors)
            for x in windows
        )

    assert isclose(exp(evidence.log_e_harm), sum(map(harm, HARM_RATIOS)) / 14, rel_tol=1e-9)
    assert isclose(exp(evidence.log_e_ok()), sum(map(ok, OK_RATIOS)) / 5, rel_tol=1e-9)
    expected = sum(map(absolute, (0.0, 0.001, 0.0025, 0.005))) / 4
    assert isclose(exp(evidence.log_e_abs(0.01)), expected, rel_tol=1e-9, abs_tol=1e-300)


def test_a_window_without_requests_changes_no_e_value() -> None:
    before = step(Evidence(), window(1000, 0.1, 7, 3))
    after = step(before, Window())
    assert (after.harm, after.ok) == (before.harm, before.ok)
    assert after.windows == before.windows + 1


def test_log_mean_exp_survives_extremes() -> None:
    assert log_mean_exp((-inf, -inf)) == -inf
    assert log_mean_exp((2000.0, -inf)) == pytest.approx(2000 - log(2))


def test_354_requests_without_an_error_pass_and_353_hold() -> None:
    """Case 44: neither promoted nor aborted before there is evidence."""
    assert decide(clean(353), 0.01).verdict is Verdict.HOLD
    assert decide(clean(354), 0.01).verdict is Verdict.PASS


def test_a_challenger_that_fails_everything_is_aborted_within_one_window() -> None:
    judgement = decide(step(Evidence(), window(200, 0.1, 20, 20)), 0.01)
    assert judgement.verdict is Verdict.FAIL
    assert (
        "challenger 20 errors in 20 requests = 100 %, champion 0 errors in 180 requests)" in judgement.message
    )


QUIET = Window(Counts(90), Counts(10))
BURST = window(1000, 0.1, 4, 4)


def after(*windows: Window) -> Evidence:
    evidence = Evidence()
    for one in windows:
        evidence = step(evidence, one)
    return evidence


@pytest.mark.parametrize(
    "windows",
    [
        (BURST,),
        (window(1000, 0.1, 90, 70),),
        (QUIET, window(1000, 0.1, 40, 40), window(1000, 0.1, 40, 40)),  # over the end of a window
        (window(1000, 0.1, 1, 1), QUIET, window(1000, 0.1, 6, 6)),  # a stray error is no second burst
        (BURST, QUIET, BURST, QUIET, BURST, QUIET),
        (BURST, *[QUIET] * 100),
    ],
)
def test_few_bursts_of_errors_hold(windows: tuple[Window, ...]) -> None:
    evidence = after(*windows)
    judgement = decide(evidence, 0.01)
    assert evidence.log_e_harm >= log(200)
    assert (judgement.verdict, judgement.lone_burst, judgement.suspicious) == (Verdict.HOLD, True, True)
    assert "few bursts of errors" in judgement.message


def test_errors_at_four_other_times_abort_whatever_their_number() -> None:
    """At weight 10, 7.8⁴ / 15 ≥ 200."""
    for errors in (1, 4, 40):
        burst = window(1000, 0.1, errors, errors)
        evidence = after(*[burst, QUIET] * 4)
        judgement = decide(evidence, 0.01)
        assert (judgement.verdict, judgement.lone_burst) == (Verdict.FAIL, False)
        assert decide(after(*[burst, QUIET] * 3), 0.01).verdict is Verdict.HOLD


def test_a_window_is_no_observation_before_its_end() -> None:
    """Otherwise its first error would weigh as much as all of it, and looking often would cost alarms."""
    open_window = step(after(*[BURST, QUIET] * 3), BURST, over=False)
    assert open_window.challenger.errors == 16
    assert decide(open_window, 0.01).verdict is Verdict.HOLD


OUT = window(1000, 0.1, 40, 40)


@pytest.mark.parametrize(
    ("windows", "verdict"),
    [
        ((window(150, 0.1, 14, 14),), Verdict.HOLD),
        ((window(150, 0.1, 15, 15),), Verdict.FAIL),  # (32 / 4.1)ⁿ / 14 ≥ 10¹² from n = 15
        ((window(1000, 0.1, 79, 79),), Verdict.HOLD),
        ((*[QUIET] * 90, *[OUT] * 3), Verdict.HOLD),  # a dependency that was away for some seconds
        ((*[QUIET] * 90, *[OUT] * 4), Verdict.FAIL),
        ((*[QUIET] * 90, OUT, OUT, QUIET, OUT, OUT), Verdict.HOLD),
        ((*[QUIET] * 90, *[window(1000, 0.5, 60, 55)] * 7), Verdict.HOLD),  # at weight 50 e_bursts has 4
        ((*[QUIET] * 90, *[window(1000, 0.5, 60, 55)] * 8), Verdict.FAIL),
        ((*[QUIET] * 90, *[window(1000, 0.5, 60, 55)] * 4, OUT, OUT), Verdict.FAIL),
        ((*[QUIET] * 90, *[window(1000, 0.5, 50, 45)] * 8), Verdict.HOLD),  # less than a tenth
        ((*[window(1000, 0.5, 240, 160)] * 20,), Verdict.HOLD),  # twice the champion's, which fails as well
        ((window(1000, 0.1, 800, 80),) * 9, Verdict.PASS),  # the champion is down, too
    ],
)
def test_an_outage_of_the_challenger_aborts_at_once(windows: tuple[Window, ...], verdict: Verdict) -> None:
    """Nearly all that it was asked fails from its beginning, or much of it for longer than bursts last."""
    assert decide(after(*windows), 0.01).verdict is verdict


def judgement(verdict: Verdict, measure: str, log_e_harm: float = 0.0) -> Judgement:
    return Judgement(verdict, f"so says {measure}", measure, log_e_harm)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("Pass Pass", "Pass"),
        ("Pass Hold", "Hold"),
        ("Hold Error Pass", "Error"),
        ("Error Fail Pass", "Fail"),
    ],
)
def test_measures_pass_together_and_fail_alone(verdicts: str, expected: str) -> None:
    """Case 31; in Argo, Inconclusive overwrites Failed."""
    parts = [judgement(Verdict(one), str(index)) for index, one in enumerate(verdicts.split())]
    whole = together(parts)
    assert whole.verdict == expected
    assert {part.measure for part in parts if part.message in whole.message} == {
        part.measure for part in parts if part.verdict == expected
    }


def test_what_one_measure_suspects_is_suspicious_and_one_measure_speaks_for_itself() -> None:
    alarmed = judgement(Verdict.HOLD, "latency", log(10))
    assert together([judgement(Verdict.PASS, "errors"), alarmed]).suspicious
    assert together([alarmed]) is alarmed


def test_measures_share_the_false_alarms() -> None:
    few, evidence = after(*[BURST, QUIET] * 4), after(*[BURST, QUIET] * 6)
    assert log(200) < few.log_e_bursts < log(200 * 5)
    assert decide(few, 0.01, measures=5).verdict is Verdict.HOLD
    assert decide(few, 0.01).log_e_harm == decide(few, 0.01, measures=5).log_e_harm
    assert decide(evidence, 0.01, measures=5).verdict is Verdict.FAIL


def test_errors_that_hit_both_arms_alike_are_no_harm() -> None:
    evidence = Evidence()
    for _ in range(50):
        evidence = step(evidence, window(1000, 0.1, 500, 50))
    assert decide(evidence, 0.01).verdict is Verdict.PASS
    assert evidence.log_e_harm < 0


def test_a_few_points_a_hundred_times_worse_are_not_averaged_away() -> None:
    """Case 53."""
    evidence = Evidence()
    for bad in (False, True, False, False, True, False, False, True, False, False):
        evidence = step(evidence, window(1000, 0.1, 14 if bad else 5, 10 if bad else 0))
    held = decide(evidence, 0.01)
    assert (held.verdict, held.suspicious) == (Verdict.HOLD, True)


def test_without_a_champion_to_compare_with_nobody_passes() -> None:
    """Case 53: a missing control is not a Pass."""
    assert decide(step(Evidence(), Window(Counts(), Counts(5000))), 0.01).verdict is Verdict.HOLD


@pytest.mark.parametrize(
    ("challenger", "verdict"),
    [(Counts(), "Hold"), (Counts(100), "Hold"), (Counts(5000), "Pass"), (Counts(5000, 100), "Hold")],
)
def test_beside_a_champion_that_is_down_a_challenger_passes_by_the_tolerated_rate_alone(
    challenger: Counts, verdict: str
) -> None:
    """Case 9."""
    for champion in (Counts(), Counts(900, 900)):
        found = decide(step(Evidence(), Window(champion, challenger)), 0.01, alone=True)
        assert found.verdict == verdict, "what the champion failed before says nothing of the challenger"


def test_counts_that_cannot_be_read_are_an_error_but_never_hide_a_fail() -> None:
    """Case 30."""
    assert decide(clean(1000), 0.01, readable=False).verdict is Verdict.ERROR
    failed = step(Evidence(), window(200, 0.1, 20, 20))
    assert decide(failed, 0.01, readable=False).verdict is Verdict.FAIL


def test_a_pass_waits_for_the_floor_of_time() -> None:
    assert decide(clean(1000), 0.01, floors_met=False).verdict is Verdict.HOLD


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(1e-6, 0.999))
def test_every_verdict_is_defined_for_any_counts(requests: int, errors: int, tolerated: float) -> None:
    """Case 30: no NaN, no overflow, whatever the counts."""
    arm = Counts(requests + errors, errors)
    judgement = decide(step(Evidence(), Window(arm, arm)), tolerated)
    assert judgement.verdict in set(Verdict)
    assert judgement.log_e_harm == judgement.log_e_harm


@given(st.lists(st.tuples(arms, arms).map(lambda pair: Window(*pair)), min_size=1, max_size=6))
def test_errors_that_come_together_make_no_pass_sooner(windows: list[Window]) -> None:
    """So that the bound on false passes of independent errors holds: above 1, roots of e are less than e."""
    evidence = after(*windows)
    each = max(0.0, evidence.log_e_ok()), max(0.0, evidence.log_e_abs(0.01))
    for per_cause in (1.0, 1.7, evidence.overdispersion.per_cause, 40.0):
        assert evidence.log_e_ok(per_cause) <= each[0] + 1e-9
        assert evidence.log_e_abs(0.01, per_cause) <= each[1] + 1e-9


@pytest.mark.parametrize("size", [2, 5, 20])
def test_clusters_of_one_size_pass_as_single_errors_do(size: int) -> None:
    """Twelve windows of which every second has one, of the champion alone."""
    single, clustered = (
        after(*[Window(Counts(900, errors), Counts(100)), Window(Counts(900), Counts(100))] * 6)
        for errors in (1, size)
    )
    assert clustered.log_e_ok(size) == pytest.approx(single.log_e_ok())
    assert clustered.log_e_abs(0.01, 2 * size) < clustered.log_e_abs(0.01)


def test_a_champion_whose_errors_come_together_makes_a_pass_wait() -> None:
    """Forty errors of the champion in one stumble are no proof that the challenger is better."""
    quiet = Window(Counts(90, 1), Counts(10))
    stumbled = after(*[quiet] * 3, Window(Counts(90, 40), Counts(10)))
    assert stumbled.log_e_ok() > log(20)
    judgement = decide(stumbled, 0.01)
    assert judgement.verdict is Verdict.HOLD
    assert "as 10.8 of the champion's errors come together" in judgement.message
    assert judgement.figures["errorsPerCause"] == pytest.approx(43 / 4)
    assert decide(stumbled, 0.01, alone=True).verdict is Verdict.HOLD, "nor that it answered forty requests"
    assert decide(stumbled, 0.01, of=comparison(25, 2.0)).verdict is Verdict.PASS  # slow answers


def test_354_clean_requests_pass_beside_errors_that_come_one_by_one_and_wait_beside_clusters() -> None:
    one_by_one = after(*[Window(Counts(90, k % 2), Counts(10)) for k in range(36)])
    clustered = after(*[Window(Counts(90, 5 * (k % 9 == 0)), Counts(10)) for k in range(36)])
    assert decide(one_by_one, 0.01).verdict is Verdict.PASS
    assert decide(clustered, 0.01).verdict is Verdict.HOLD


def test_a_judgement_tells_counts_shares_and_thresholds() -> None:
    """So that status and metrics say how far it is, and of what."""
    evidence = step(Evidence(), Window(Counts(900, 9), Counts(100, 3)))
    figures = decide(evidence, 0.01, measures=2, rivals=3).figures
    counted = {"championRequests": 900, "championErrors": 9, "challengerRequests": 100, "challengerErrors": 3}
    assert {name: figures[name] for name in counted} == counted
    assert (figures["championShare"], figures["challengerShare"]) == (0.01, 0.03)
    assert figures["logFailAt"] == pytest.approx(log(200 * 2 * 3))
    assert figures["logPassAt"] == pytest.approx(log(20 * 3))
    assert "challengerShare" not in decide(Evidence(), 0.01).figures, "of nothing there is no share"


def test_late_answers_are_told_as_such() -> None:
    evidence = step(Evidence(), Window(Counts(900, 90), Counts(100, 30)))
    figures = decide(evidence, 0.1, of=comparison(25, 2.0)).figures
    assert (figures["championLate"], figures["challengerLate"]) == (90, 30)
    assert len(figures) < 16, "and status has room for the edge"


def test_a_failure_says_what_it_was_found_by_against_which_bounds_and_in_how_many_windows() -> None:
    evidence = Evidence()
    for _ in range(4):
        evidence = step(evidence, window(1000, 0.1, 5, 50))
    found = decide(evidence, 0.01, measures=2)
    assert found.verdict is Verdict.FAIL
    said = (
        r"e_bursts \S+ of 400, e_harm \S+ of \S+, 4 windows \(challenger 200 errors in \d+ requests = 50 %, "
    )
    assert re.search(said, found.message), found.message
    assert found.figures["windows"] == 4
