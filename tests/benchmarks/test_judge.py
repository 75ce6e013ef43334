"""The simulation of judges: it gives the figures of an independent one, and its peers' rules do what
their documents say.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from math import log, sqrt
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from benchmarks.judge import __main__ as command
from benchmarks.judge import first, page
from benchmarks.judge.grid import (
    BURST_GRID,
    BURST_RULES,
    FIVE,
    GRID,
    HEALTHY,
    PROMOTION_GRID,
    RULES,
    SLIGHT,
    TWENTY,
    Figures,
    _figures,
    measure,
    measured,
)
from benchmarks.judge.measures import tables
from benchmarks.judge.rollout import Rollout
from benchmarks.judge.rules import NORIA, PEERS, UNGUARDED, Outcome, Rule, Sequential, Threshold
from benchmarks.judge.traffic import ERRORS, FIXED, RAMP, REQUESTS, Case, Traffic, Truth, rollouts
from benchmarks.judge.troubles import CHALLENGER, Blinks, Clusters, Pods, Retries, Trouble, Windows

from noria_operator.domain.overdispersion import Overdispersion
from noria_operator.domain.verdict import Counts, Evidence, Verdict, Window, decide, step

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"
MINUTELY = Sequential("a look a minute", window=60, every=60, guarded=False, fail_at=100)
"""The test that the independent simulation had."""


def minutes(case: Case, runs: int) -> list[float]:
    outcomes = [MINUTELY.judge(Rollout(traffic)) for traffic in rollouts(case, runs, seed=7)]
    return [one.aborted / 60 for one in outcomes if one.aborted is not None]


@pytest.mark.parametrize(
    ("truth", "rate", "expected"), [(FIVE, 10, 3.7), (TWENTY, 10, 1.1), (FIVE, 2, 10.4), (TWENTY, 2, 3.2)]
)
def test_the_time_to_abort_on_a_ramp_equals_an_independent_simulation(
    truth: Truth, rate: float, expected: float
) -> None:
    """Up to three standard errors and the rounding of what the independent simulation gave."""
    found = minutes(Case(truth, RAMP, rate), 150)
    assert len(found) > 147
    assert fmean(found) == pytest.approx(expected, abs=3 * stdev(found) / sqrt(len(found)) + 0.05)


def test_the_share_of_slight_harm_that_is_caught_equals_an_independent_simulation() -> None:
    """65 % of 0.5 → 2 % at 2 requests a second."""
    caught = len(minutes(Case(SLIGHT, RAMP, 2), 150)) / 150
    assert caught == pytest.approx(0.65, abs=3 * sqrt(0.65 * 0.35 / 150))


def test_the_guarded_judge_keeps_its_targets() -> None:
    for truth, target in ((FIVE, 4.0), (TWENTY, 1.5)):
        figures = measure(Case(truth, FIXED, 10), [NORIA], 60, seed=3)[NORIA.name]
        assert figures.aborted == 1
        assert figures.minutes is not None
        assert figures.minutes <= target


CASES = (
    Case(Truth("slight harm", 0.005, 0.02, burst=4), RAMP, 10),
    Case(Truth("harm", 0.005, 0.1), FIXED, 10),
    Case(Truth("outage", 0.005, 0.8), FIXED, 2),
    Case(Truth("clusters", 0.02, 0.02, Clusters(20)), FIXED, 100),
    Case(Truth("healthy", 0.002, 0.002), RAMP, 10),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.truth.name)
def test_rules_that_share_their_evidence_judge_as_one_that_looks_at_every_second(case: Case) -> None:
    for traffic in rollouts(case, 5, seed=5):
        rollout = Rollout(traffic)
        for rule in (UNGUARDED, NORIA):
            assert rule.judge(rollout) == looked_at_every_second(traffic, guarded=rule.guarded)


def looked_at_every_second(traffic: Traffic, *, guarded: bool) -> Outcome:
    """The plain loop: the operator's functions at every look."""
    evidence, passed = Evidence(), False
    for begin in range(0, len(traffic), NORIA.window):
        for end in range(begin + 1, begin + NORIA.window + 1):
            champion, challenger = (Counts(*map(int, one)) for one in traffic[begin:end].sum(axis=0))
            seen = step(evidence, Window(champion, challenger), over=end == begin + NORIA.window)
            fails = decide(seen, 0.01).verdict is Verdict.FAIL
            if fails if guarded else seen.log_e_harm >= log(200):
                return Outcome(end, passed=passed)
        evidence = seen
        counted = seen if guarded else replace(seen, overdispersion=Overdispersion())
        passes = decide(counted, 0.01).verdict is Verdict.PASS
        passed |= passes
    return Outcome(None, passes, passed)


@pytest.mark.parametrize(
    ("aborted", "runs", "truth", "more"),
    [(0, 2000, HEALTHY, False), (5, 2000, HEALTHY, True), (60, 2000, HEALTHY, False), (5, 2000, FIVE, False)],
)
def test_a_healthy_case_gets_more_runs_while_they_leave_open_what_is_promised(
    aborted: int, runs: int, truth: Truth, more: bool
) -> None:
    case = Case(truth, FIXED, 10)
    found = _figures((Outcome(60 if run < aborted else None, passed=True), 0) for run in range(runs))
    assert command._open(case, {case: {NORIA.name: found}}) is more
    assert (found.runs, found.passed) == (runs, 1)


def test_errors_that_come_together_pass_twice_as_bad_a_version_unless_they_are_seen_to() -> None:
    """Promises are 1 in 20 for independent errors; clusters of five passed more than half."""
    case = Case(Truth("", 0.005, 0.01, Clusters(5)), FIXED, 10)
    figures = measure(case, [NORIA, UNGUARDED], 60, seed=1)
    noria, each = (figures[rule.name].passed or 0.0 for rule in (NORIA, UNGUARDED))
    assert noria < 0.15
    assert each > 0.35


def test_processes_that_share_the_runs_find_the_same_figures() -> None:
    asked = [(case, (NORIA, *PEERS), runs) for case, runs in zip(CASES, (3, 5, 4, 2, 1), strict=True)]
    alone, shared = (list(measured(asked, 1, processes=n, block=2)) for n in (1, 2))
    assert alone == shared
    longer = next(measured([(CASES[0], [NORIA], 9)], 1, processes=1, block=2))
    assert longer != alone[0]


def test_the_same_seed_gives_the_same_rollouts_and_another_one_others() -> None:
    case = Case(HEALTHY, FIXED, 2)
    first, again, other = (next(rollouts(case, 1, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("truth", [Truth("burst", 0, 0, burst=7), Truth("clusters", 0, 0.05, Clusters(5))])
def test_bursts_and_clusters_fail_requests_of_the_challenger(truth: Truth) -> None:
    traffic = next(rollouts(Case(truth, FIXED, 10), 1, seed=1))
    failed = traffic[:, CHALLENGER, ERRORS]
    assert traffic[:, 1 - CHALLENGER, ERRORS].sum() == 0
    assert (failed <= traffic[:, CHALLENGER, REQUESTS]).all()
    assert failed.sum() == 7 if truth.burst else not (failed % 5).any() and failed.any()


TROUBLES = (Clusters(5), Retries(5, 1.0), Pods(3), Pods(1), Blinks(), Windows(0.3), Windows(0.3, shared=True))


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_troubles_make_no_version_worse(trouble: Trouble) -> None:
    """5 % of the requests of each fail in the mean, and one request tells of others."""
    case = Case(Truth("", 0.05, 0.05, trouble), FIXED, 10)
    sums = np.stack([traffic.sum(axis=0) for traffic in rollouts(case, 60, seed=1)])
    shares = sums[:, :, ERRORS] / sums[:, :, REQUESTS]
    error = shares.std(axis=0) / sqrt(60)
    assert (abs(shares.mean(axis=0) - 0.05) < 4 * error + 0.004).all()
    independent = sqrt(0.05 * 0.95 / sums[:, 1 - CHALLENGER, REQUESTS].mean())
    assert shares[:, 1 - CHALLENGER].std() > 1.3 * independent


def by_minute(*failed: int, requests: int = 100) -> Traffic:
    traffic = np.zeros((60 * len(failed), 2, 2), dtype=np.int64)
    traffic[::60, CHALLENGER] = [(requests, count) for count in failed]
    return traffic


@pytest.mark.parametrize(
    ("failures", "failed", "aborted"),
    [
        (1, (5, 5, 6, 0), 180),
        (1, (5, 5, 5), None),
        (3, (6, 0, 6, 0, 6, 0), 300),  # successes between do not reset the count
        (3, (6, 0, 6, 0), None),
    ],
)
def test_a_threshold_aborts_at_its_number_of_failed_checks(
    failures: int, failed: tuple[int, ...], aborted: int | None
) -> None:
    rule = Threshold("", 0.05, failures=failures)
    assert rule.judge(Rollout(by_minute(*failed))) == Outcome(aborted, promoted=aborted is None)


def test_a_minute_without_requests_is_a_failed_check() -> None:
    assert Threshold("", 0.05, failures=2).judge(Rollout(by_minute(0, 0, requests=0))).aborted == 120


def test_a_window_of_five_minutes_averages_them() -> None:
    rule = Threshold("", 0.02, failures=1, window=300)
    assert rule.judge(Rollout(by_minute(0, 0, 0, 0, 10, 0))).aborted is None
    assert rule.judge(Rollout(by_minute(0, 0, 0, 0, 10, 1))).aborted == 360


def test_the_command_writes_tables_figures_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["judge", "--runs", "1", "--into", str(tmp_path)])
    command.main()
    text = (tmp_path / "judge-figures.md").read_text()
    assert capsys.readouterr().out in text
    assert all(rule.name in text and rule.name in (tmp_path / "judge.svg").read_text() for rule in RULES)
    assert (tmp_path / "judge-figures.json").stat().st_size > 1000
    assert not (tmp_path / "judge.md").exists()


def test_the_page_gets_its_tables_between_their_marks_and_keeps_its_words(tmp_path: Path) -> None:
    independent = {case: figures_of(RULES, aborted=0.2) for case in GRID}
    clustered = {case: figures_of(BURST_RULES, aborted=0.004) for case in BURST_GRID}
    promoted = {case: figures_of(BURST_RULES, aborted=0.0) for case in PROMOTION_GRID}
    texts = page.tables(independent, clustered, promoted)
    written = tmp_path / "judge.md"
    marks = "".join(f"Words.\n<!-- begin: {name} -->\nold\n<!-- end: {name} -->\n" for name in texts)
    written.write_text(marks)
    page.write(written, texts)
    text = written.read_text()
    assert text.count("Words.") == len(texts)
    assert "old" not in text
    for rate in (2, 10):
        assert f"| aborted, healthy, {rate} % errors | **20 %** | 40 % | 60 % | 80 % | 100 % |" in text
    assert "| errors in clusters of 2 | **0.4 %** | 0.8 % |" in text
    assert "| 0.5 → 5 % (weight 50) | **1.0 min, 3 (0.4 %)** | 2.0 min, 3 (0.8 %) |" in text
    assert (
        "| errors in clusters of 2 (weights 5, 10, 25, 50), healthy | 1.0 % (10 %) | **2.0 % (10 %)** |"
        in text
    )
    page.write(written, texts)
    assert written.read_text() == text


def test_the_published_page_has_a_place_for_each_table() -> None:
    published = (PAGES / "judge.md").read_text()
    for name in ("independent", "bursts", "cost", "promotions", "measures"):
        assert published.count(f"<!-- begin: {name} -->\n") == 1
        assert published.index(f"begin: {name}") < published.index(f"end: {name}")


def figures_of(rules: Sequence[Rule], aborted: float) -> dict[str, Figures]:
    """Each rule aborts as much more than the one before."""
    return {
        rule.name: Figures(2000, n * aborted, (0.0, 1.0), float(n), 3.0, 0.1, 0.01 * n)
        for n, rule in enumerate(rules, 1)
    }


def test_other_measures_are_simulated_case_by_case_and_bad_ones_fail() -> None:
    lines = list(tables(runs=3, seed=1))
    assert lines.count("") == 4
    rows = [line.strip("| ").split(" | ") for line in lines if "→" in line and "champion" not in line]
    shares = {row[0]: row for row in rows}
    assert shares["10% → 50%"][1:4] == ["1", "10", "100.0%"]
    assert shares["0.9 → 0.8"][1] == "100.0%"
    assert shares["0.9 → 0.92"][3] == "100.0%"
    differing = {row[0]: row for line in lines if len(row := line.strip("| ").split(" | ")) == 5}
    assert (differing["0%"][3], differing["35%"][1]) == ("100.0%", "100.0%")
    for what, worse in (("accuracy lower", "0.1 → 0.1"), ("predictions higher", "1.0 → 1.0")):
        begun = next(index for index, line in enumerate(lines) if line.startswith(f"| {what} by, weight 10"))
        ramp = {line.strip("| ").split(" | ")[0]: line for line in lines[begun + 2 :] if "→" in line}
        assert f"{worse} | 100.0% |" in ramp[worse]
        assert " | 0.0% | – |" in lines[begun + 2], "hours that differ are no difference of versions"


def test_the_time_of_failing_begins_with_the_first_request_that_failed() -> None:
    case = Case(FIVE, FIXED, 10)
    (traffic,) = rollouts(case, 1, seed=3)
    begun = next(second for second, counts in enumerate(traffic) if counts[CHALLENGER][ERRORS])
    ends = NORIA.judge(Rollout(traffic)).aborted
    assert ends is not None
    assert first.failing(NORIA, case, 1, seed=3) == [ends - begun]
    assert begun > 0


def test_the_table_of_the_time_of_failing_has_every_harmful_case() -> None:
    lines = list(first.table(2, seed=1))
    assert len(lines) == 2 + len(first.HARMFUL) == 2 + 16
    assert all("healthy" not in line for line in lines)
