"""The judge of a challenger: sequential tests of its errors against the champion's, and an absolute one
beside them.

Comes in: windows of request and error counts of both arms. Goes out: one of Pass, Fail, Hold, Error with the
evidence. The tests are e-processes, so looking after every window costs no false alarms: under the hypothesis
that it refutes, an e-value of 200 is reached with probability at most 1/200 whenever one looks. Only counts
enter, no baseline rate: a fault common to both arms cancels, and the weight may change between windows.
Everything is kept as logarithms. Harm is tested twice: `harm` counts each error, which says much when errors
come one by one, and `bursts` takes a window for one observation, which is what aborts.

The forms are those of "Anytime-valid inference for multinomial count data" (arXiv 2011.03567), with fixed
grids of alternatives in place of a prior, so that the share of the challenger may differ from window to
window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, inf, log, log1p
from typing import Final

from noria_operator.domain.bursts import NEARLY_ALL, OUTAGE, Bursts, Seen, weigh
from noria_operator.domain.overdispersion import Overdispersion
from noria_operator.domain.sequences import log_mean_exp

HARM_RATIOS: Final = tuple(1.25 * (32 / 1.25) ** (j / 13) for j in range(14))
"""Alternatives of the harm test: how many times as often the challenger fails."""
TOLERABLE_RATIO: Final = 2.0
"""The null hypothesis of the ok test: the challenger fails at least this many times as often."""
_HARM_LOGS: Final = tuple(map(log, HARM_RATIOS))
_BETS: Final = (1.0, *HARM_RATIOS)
"""Alternatives of the test by windows; 1 is not to bet."""
OK_RATIOS: Final = (0.25, 0.5, 0.75, 1.0, 1.25)
ABSOLUTE_SHARES: Final = (0.0, 0.1, 0.25, 0.5)
"""Alternatives of the absolute test, as shares of the tolerated error rate."""

FAIL_AT: Final = 200.0
"""e_bursts that aborts: a false alarm in at most 1 of 200 rollouts. An e_harm of as much, alone, holds."""
FAIL_AT_ONCE: Final = 1e12
"""e_harm that aborts in an outage of the challenger: about 15 failures of it alone at weight 10."""
SUSPECT_AT: Final = 10.0
"""e_harm or e_bursts from which no further step begins, though it is not enough to abort yet."""
PASS_AT: Final = 20.0
"""e_ok or e_abs that lets a challenger be promoted."""


class Verdict(StrEnum):
    """What the evidence says of a challenger, in every place these four words."""

    PASS = "Pass"
    """No worse than twice the champion's error rate, or surely below the tolerated rate."""
    FAIL = "Fail"
    """It fails more often than the champion; the only verdict that aborts."""
    HOLD = "Hold"
    """Not enough evidence either way."""
    ERROR = "Error"
    """The counts could not be read; nothing moves until they can."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests, how many of them failed (a response of 5xx, a reset or a timeout), and how many others were
    refused as the client's fault (4xx) or sent elsewhere (3xx).
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0

    def __add__(self, other: Counts) -> Counts:
        requests, errors = self.requests + other.requests, self.errors + other.errors
        return Counts(requests, errors, self.refused + other.refused)


@dataclass(frozen=True, slots=True)
class Window:
    """What both arms answered in one stretch of time."""

    champion: Counts = Counts()
    challenger: Counts = Counts()

    def __add__(self, other: Window) -> Window:
        return Window(self.champion + other.champion, self.challenger + other.challenger)

    @property
    def requests(self) -> int:
        """Requests to both."""
        return self.champion.requests + self.challenger.requests

    @property
    def share(self) -> float:
        """The challenger's share of the requests that really came, not the weight that was asked for."""
        return self.challenger.requests / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was seen of one challenger: the accumulators of the sequential tests and the totals."""

    harm: tuple[float, ...] = (0.0,) * len(HARM_RATIOS)
    bursts: Bursts = field(default_factory=Bursts)
    ok: tuple[float, ...] = (0.0,) * len(OK_RATIOS)
    overdispersion: Overdispersion = field(default_factory=Overdispersion)
    windows: int = 0
    champion: Counts = field(default_factory=Counts)
    challenger: Counts = field(default_factory=Counts)

    @property
    def log_e_harm(self) -> float:
        """log e against "it fails no more often than the champion", each error by itself."""
        return log_mean_exp(self.harm)

    @property
    def log_e_bursts(self) -> float:
        """The same, each window as one observation."""
        return self.bursts.log_e

    @property
    def out(self) -> bool:
        """Whether the challenger is no use: nearly all failed all along, or much for longer than a burst."""
        all_along = self.challenger.errors >= NEARLY_ALL * max(1, self.challenger.requests)
        return all_along or self.bursts.down >= OUTAGE

    def log_e_ok(self, per_cause: float = 1.0) -> float:
        """log e against "it fails at least twice as often as the champion", where `per_cause` errors come
        together.
        """
        return log_mean_exp(tuple(value / per_cause for value in self.ok))

    def log_e_abs(self, tolerated: float, per_cause: float = 1.0) -> float:
        """log e against "its error rate is at least `tolerated`", as above; the product over windows is that
        of the totals.
        """
        errors = self.challenger.errors
        successes = self.challenger.requests - errors
        logs = (
            times_log(errors, share) + successes * (log1p(-share * tolerated) - log1p(-tolerated))
            for share in ABSOLUTE_SHARES
        )
        return log_mean_exp(tuple(value / per_cause for value in logs))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is counted, which ratio of shares is tolerable, and both in words, `called` that of figures;
    `clustered` is whether hits that come together count as one for a Pass.
    """

    measure: str = "errors"
    tolerable: float = TOLERABLE_RATIO
    worse: str = "it fails more often than the champion"
    hits: str = "errors"
    called: str = "Errors"
    unread: str = "the routers' counts cannot be read"
    clustered: bool = True


ERRORS: Final = Comparison()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with a sentence for people, and the figures behind it (logarithms are natural).

    `log_e_harm` is of the test of harm that says most; `query` is what a source was asked; `lone_burst` says
    that harm was found, in too few bursts; `doubtful`, of a test without an e-value, that harm shows at
    1 / SUSPECT_AT, and `reached` how far it has come towards Pass, from 0 to 1 (None: answers to a query come
    no nearer); `parts` are the judgements on each measure, where this one stands for several.
    """

    verdict: Verdict
    message: str
    measure: str = ""
    log_e_harm: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    query: str = ""
    lone_burst: bool = False
    doubtful: bool = False
    reached: float | None = 0.0
    parts: tuple[Judgement, ...] = ()

    @property
    def harmful(self) -> bool:
        """Whether harm shows, even if it is not enough to abort."""
        return self.doubtful or self.log_e_harm >= log(SUSPECT_AT)

    @property
    def suspicious(self) -> bool:
        """Whether something speaks against more weight, even if it does not speak loud enough to abort."""
        loud = self.verdict in (Verdict.FAIL, Verdict.ERROR) or self.harmful
        return loud or any(part.suspicious for part in self.parts)

    @property
    def progress(self) -> float:
        """How far the evidence has come towards Pass, from 0 to 1: its logarithm, which grows evenly with
        requests, of the measure that has least. Answers to queries have none; what passed is there, and what
        waits for its first counts or labels is at the beginning.
        """
        waiting = [one for one in self.measures if one.verdict is not Verdict.PASS]
        grown = [_grown(one.figures, one.reached) for one in waiting if one.reached is not None]
        if grown:
            return min(grown)
        return float(not waiting or any("logEOk" in one.figures for one in self.measures))

    @property
    def measures(self) -> tuple[Judgement, ...]:
        """The judgement on each measure."""
        return self.parts or (self,)


def _grown(figures: Mapping[str, float], reached: float) -> float:
    best = max(figures.get("logEOk", 0.0), figures.get("logEAbs", 0.0))
    return min(1.0, max(reached, best / log(PASS_AT)))


_GRAVEST: Final = (Verdict.FAIL, Verdict.ERROR, Verdict.HOLD, Verdict.PASS)


def together(parts: Sequence[Judgement]) -> Judgement:
    """One judgement on all measures: Fail if any fails, else Error if any cannot be read, Pass only if all
    pass. The sentence is that of the measures that decide.
    """
    if len(parts) == 1:
        return parts[0]
    verdict = min((part.verdict for part in parts), key=_GRAVEST.index)
    said = [f"{part.measure}: {part.message}" for part in parts if part.verdict is verdict]
    burst = any(part.lone_burst for part in parts)
    return Judgement(verdict, "; ".join(said), lone_burst=burst, parts=tuple(parts))


def times_log(total: float, base: float) -> float:
    """total · log(base), where 0 · log(0) = 0 because 0⁰ = 1."""
    if total == 0:
        return 0.0
    return total * log(base) if base > 0 else -inf


def step(
    evidence: Evidence, window: Window, tolerable: float = TOLERABLE_RATIO, *, over: bool = True
) -> Evidence:
    """Evidence after one more window. A window without errors in either arm leaves the sequential tests as
    they are. `tolerable` is the ratio that the ok test refutes, above the largest of OK_RATIOS; `over` is
    False for a window that is looked at before its end, which is no observation of bursts yet.
    """
    share, hits = window.share, window.challenger.errors
    errors = window.champion.errors + hits
    usual = evidence.overdispersion.usual
    seen = Seen(share, window.champion.errors, hits, window.challenger.requests, usual)
    harm, ok = evidence.harm, evidence.ok
    if errors:
        null = log1p(share * (tolerable - 1))
        harm = tuple(
            value + hits * log_ratio - errors * log1p(share * (ratio - 1))
            for value, ratio, log_ratio in zip(harm, HARM_RATIOS, _HARM_LOGS, strict=True)
        )
        ok = tuple(
            value + hits * log(ratio / tolerable) + errors * (null - log1p(share * (ratio - 1)))
            for value, ratio in zip(ok, OK_RATIOS, strict=True)
        )
    return Evidence(
        harm=harm,
        bursts=weigh(evidence.bursts, seen, _BETS) if over else evidence.bursts,
        ok=ok,
        overdispersion=evidence.overdispersion.plus(window.champion.requests, window.champion.errors),
        windows=evidence.windows + 1,
        champion=evidence.champion + window.champion,
        challenger=evidence.challenger + window.challenger,
    )


def decide(
    evidence: Evidence,
    tolerated: float,
    *,
    readable: bool = True,
    floors_met: bool = True,
    unanswered: int = 0,
    of: Comparison = ERRORS,
    measures: int = 1,
    rivals: int = 1,
    alone: bool = False,
) -> Judgement:
    """Judge the evidence; harm is looked at first, so that missing counts never hide a Fail that was already
    found.

    `tolerated` is a share strictly between 0 and 1 (of errors: an error rate); `readable` whether the last
    counts arrived; `floors_met` whether the least time that a user asked for has passed; `unanswered` how
    many requests it has not answered, where these are more than its share; `measures` how many tests share
    the false alarms; `rivals` how many challengers are judged at once, so that they share both the false
    alarms and the false passes; `alone` whether there is no champion to compare with, because none of its
    pods is ready.
    """
    # A champion that broke down fails in one long cluster, which is not how errors of a challenger come.
    clustered = of.clustered and not alone
    per_cause = evidence.overdispersion.per_cause if clustered else 1.0
    harm, bursts = evidence.log_e_harm, evidence.log_e_bursts
    ok, absolute = evidence.log_e_ok(per_cause), evidence.log_e_abs(tolerated, per_cause)

    # The first that holds decides. Without requests on either side there is nothing to compare with: silence
    # promotes nobody. Where the champion is down neither its silence nor its failures say anything of the
    # challenger, and the absolute test decides: what would mend it shall not wait for it.
    needed = FAIL_AT * measures * rivals
    harmful = bursts >= log(needed) or (harm >= log(FAIL_AT_ONCE) and evidence.out)
    lone_burst = harm >= log(needed) and not harmful
    uncompared = evidence.champion.requests == 0
    silent = (uncompared and not alone) or evidence.challenger.requests == 0
    enough = PASS_AT * rivals
    best = absolute if alone else max(ok, absolute)
    chain = (
        (
            harmful,
            Verdict.FAIL,
            f"{of.worse}, e_bursts {_e(bursts)} of {needed:.0f}, "
            f"e_harm {_e(harm)} of {_e(log(FAIL_AT_ONCE))}, {evidence.windows} windows",
        ),
        (not readable, Verdict.ERROR, of.unread),
        (silent, Verdict.HOLD, "waiting for requests to both versions"),
        (
            lone_burst,
            Verdict.HOLD,
            f"e_harm {_e(harm)} in few bursts of {of.hits}, e_bursts {_e(bursts)} of {needed:.0f}; "
            "waiting for another",
        ),
        (
            best < log(enough),
            Verdict.HOLD,
            f"not enough evidence yet, e {_e(best)} of {enough:.0f}{_as_one(per_cause, of)}",
        ),
        (not floors_met, Verdict.HOLD, "enough evidence, waiting for analysis.minDuration"),
        (
            unanswered > 0,
            Verdict.HOLD,
            f"enough evidence, but {unanswered} requests wait for its answer, more than its share of them",
        ),
        (
            alone,
            Verdict.PASS,
            f"surely better than tolerated, the champion is down, e_abs {_e(absolute)}",
        ),
        (True, Verdict.PASS, f"as good as the champion, e_ok {_e(ok)}, e_abs {_e(absolute)}"),
    )
    verdict, why = next((verdict, why) for holds, verdict, why in chain if holds)
    return Judgement(
        verdict,
        f"{why} ({_seen(evidence, of)})",
        of.measure,
        max(harm, bursts),
        {
            "logEHarm": harm,
            "logEBursts": bursts,
            "logEOk": ok,
            "logEAbs": absolute,
            "errorsPerCause": per_cause,
            "windows": evidence.windows,
            "logFailAt": log(needed),
            "logPassAt": log(enough),
            **_counted("champion", evidence.champion, of),
            **_counted("challenger", evidence.challenger, of),
        },
        lone_burst=lone_burst,
    )


def _counted(arm: str, seen: Counts, of: Comparison) -> dict[str, float]:
    """Requests and hits of one arm, and the share that hits are."""
    share = {f"{arm}Share": seen.errors / seen.requests} if seen.requests else {}
    return {f"{arm}Requests": seen.requests, f"{arm}{of.called}": seen.errors, **share}


def _e(logarithm: float) -> str:
    """An e-value for people: 0.43, 20.03, or above ten thousand in powers of ten."""
    if logarithm < log(10_000):
        return f"{exp(logarithm):.2f}"
    return f"10^{logarithm / log(10):.0f}"


def _as_one(per_cause: float, of: Comparison) -> str:
    return f", as {per_cause:.1f} of the champion's {of.hits} come together" if per_cause >= 1.1 else ""


def _seen(evidence: Evidence, of: Comparison) -> str:
    arms = (("challenger", evidence.challenger), ("champion", evidence.champion))
    return ", ".join(
        f"{name} {arm.errors} {of.hits} in {arm.requests} requests{_share(arm)}" for name, arm in arms
    )


def _share(arm: Counts) -> str:
    return f" = {100 * arm.errors / arm.requests:.3g} %" if arm.errors else ""
