"""The page that says what reading the counts of all models costs.

Comes in: the figures of one run. Goes out: Markdown. Invariant: whether the aim is met is computed from the
figures, never written by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

AIM = 20.0
"""Percent of one core that the operator may spend on it."""


@dataclass(frozen=True)
class Figures:
    """Of one run: what was read, on which machine, and percent of a core, MiB and milliseconds of each."""

    models: int
    pods: int
    features: int
    size: int
    seconds: float
    machine: str
    load: float
    """What ran or waited to run before anything was measured: Linux's average of a minute."""
    operator: dict[str, float]
    floor: dict[str, float]


def page(found: Figures) -> str:
    """All of `scrape.md`."""
    ours, floor = found.operator["core"] * 100, found.floor["core"] * 100
    met = "is met" if ours <= AIM else "is **missed**"
    return f"""# Reading the counts of all models

`python -m benchmarks.scrape --into docs/benchmarks` measured two processes, one after the other, for
{found.seconds:.0f} seconds each: the operator's own parts, which read {found.models:,} models with
{found.pods} pods each every 15 s and weigh their triggers (`performance`, `drift`, `dataQuality`), and
aiohttp's client, which fetches the same documents as often and throws them away. A document of
{found.features} features has {found.size:,} bytes; its figures have grown each time. The pods are a third
process on the same machine: {found.machine};
{found.load:.1f} others wanted to run there just before, and take from both what their caches and cores share.

In it: all that a pass of a ContinuousTraining does; windows that close, evenly spread, as often as those of
models that are long observed do (an hour for `performance` and `drift`, a quarter of one for `dataQuality`),
and their statuses and Events as far as the client; and a scrape of the operator's own `/metrics` every 15 s,
of {found.operator["metrics"] / 1e6:.1f} MB. Not in it: watches, passes of ModelDeployments and of all other
kinds, routers, writing to a real API server, and training, as nothing drifts.

| | the operator | fetching alone (aiohttp) |
|---|---|---|
| CPU, percent of one core | {ours:.1f} | {floor:.1f} |
| documents a second | {found.operator["read"]:.0f} | {found.floor["read"]:.0f} |
| writes to the API server a second | {found.operator["wrote"]:.2g} | |
| the event loop stood still for, at most, ms | {found.operator["still"] * 1e3:.0f} \
| {found.floor["still"] * 1e3:.0f} |
| memory at its most, MiB | {found.operator["memory"]:.0f} | {found.floor["memory"]:.0f} |

The aim, {AIM:.0f} % of one core, {met}: {ours / floor:.2f} times what aiohttp takes to fetch them. Read that
ratio: times belong to the machine.

All models lie in one namespace, which is the worst case for what the operator looks up. A dictionary stands
for the API server.
"""
