"""The policies: what a ContinuousTraining says, and one rule of its peers that it does not offer.

`psi` is the usual drift rule (Evidently, NannyML and TFDV have it in some form): retrain when any feature's
population stability index against the rows that the champion learnt from is above 0.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

Json = dict[str, Any]

LOST: Final = {"metric": "logloss", "relativeDrop": "0.05"}
"""The performance trigger with all its defaults: 1,000 labels, two windows in a row. Log loss sees worse
order and worse calibration alike."""


@dataclass(frozen=True)
class Policy:
    """A spec without template; `follow_up` adds the window of the stream and its delay of labels; a `plain`
    one has neither a cooldown nor a limit on failures in a row, as a CronJob has none.
    """

    name: str
    triggers: tuple[Json, ...] = ()
    follow_up: bool = False
    psi: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is none of ours."""
        return not self.name.startswith("Noria")

    @property
    def watches(self) -> bool:
        """Whether it looks at what a model sees."""
        return any("drift" in trigger for trigger in self.triggers)

    def with_labels(self, labels: int) -> Policy:
        """The same with windows of so many labels."""
        triggers = [
            one | {"performance": one["performance"] | {"minLabels": labels}} if "performance" in one else one
            for one in self.triggers
        ]
        return replace(self, triggers=tuple(triggers))


def _cron(text: str) -> tuple[Json, ...]:
    return ({"name": "clock", "schedule": text},)


def _lost(follow_up: bool = True, name: str = "", **rule: Any) -> Policy:
    return Policy(name, ({"name": "quality", "performance": rule},), follow_up=follow_up)


DEFAULT: Final = _lost(name="Noria", **LOST)
"""Lost quality against the best ever reached, and one run to follow."""

CONCEPT: Final[tuple[Json, ...]] = ({"name": "concept", "conceptDrift": {}},)

POLICIES: Final = (
    Policy("never"),
    Policy("monthly", _cron("0 3 1 * *")),
    Policy("weekly", _cron("0 3 * * 1")),
    Policy("daily", _cron("0 3 * * *")),
    Policy("PSI > 0.2", psi=True),
    DEFAULT,
    _lost(name="Noria, no follow-up", follow_up=False, **LOST),
    _lost(name="Noria, by AUC", metric="auc", relativeDrop="0.05"),
    _lost(name="Noria, by calibration", metric="calibration", max="0.04"),
    _lost(name="Noria, by cost", metric="logloss", cost={"pointDay": "1", "run": "15"}),
    Policy("Noria, on conceptDrift", CONCEPT),
    Policy("Noria, on conceptDrift, follow-up", CONCEPT, follow_up=True),
    Policy("Noria, on drift", ({"name": "drift", "drift": {}, "action": "Retrain"},)),
    Policy(
        "Noria, on drift of one feature",
        ({"name": "drift", "drift": {"share": "0.01"}, "action": "Retrain"},),
    ),
    Policy("Noria, on newSamples", ({"name": "rows", "newSamples": {"count": 4000}},)),
    Policy("Noria, on maxAge", ({"name": "age", "maxAge": "480h"},)),
)
