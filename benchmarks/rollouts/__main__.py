"""`python -m benchmarks.rollouts [--rollouts N …] [--only NAME …]`: Noria's operator and the real Argo
Rollouts controller, tuned, without and with a router, in turn; keeps what each took in rollouts-figures.json.

Needs root, for a network of its own. `make bench-rollouts` runs it. `--only argo` is Argo as shipped, whose
thousand rollouts take a quarter of an hour; `argo-uncalled` is the tuned one without the Services by which
its rollouts are called. With `--bitmap` ten thousand do not wait for addresses of Services.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.report import RESULTS
from benchmarks.rollouts import page, picture
from benchmarks.rollouts.argo import Access, argo
from benchmarks.rollouts.contender import Contender, Figures, measure
from benchmarks.rollouts.ground import BITMAP_HELP, Ground, enter_network, ground
from benchmarks.rollouts.noria import noria
from benchmarks.rollouts.watching import watching

CONTENDERS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Contender]]] = {
    "noria": noria,
    "argo-tuned": partial(argo, tuned=True),
    "argo-routed": partial(argo, tuned=True, access=Access.INGRESS),
    "argo-uncalled": partial(argo, tuned=True, access=Access.NONE),
    "argo": partial(argo, tuned=False),
}
USUAL = ["noria", "argo-tuned", "argo-routed"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts", description=__doc__)
    parser.add_argument("--rollouts", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=USUAL)
    parser.add_argument("--into", type=Path, default=RESULTS)
    parser.add_argument("--bitmap", action="store_true", help=BITMAP_HELP)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and leave nothing behind
    enter_network(*({"argo-rollouts"} if any(name.startswith("argo") for name in options.only) else ()))
    for count in options.rollouts:
        for name in options.only:
            found = page.record(options.into, asyncio.run(run(name, count, bitmap=options.bitmap)))
            picture.show(found, options.into / "rollouts.svg")
            sys.stdout.write(f"{page.markdown(found)}\n")
            sys.stdout.flush()


async def run(name: str, count: int, *, bitmap: bool) -> Figures:
    """One contender on a fresh API server; its figures say where addresses come from a bitmap."""
    folder = Path(tempfile.mkdtemp(prefix="noria-bench-"))
    try:
        async with (
            ground(folder, bitmap=bitmap) as place,
            CONTENDERS[name](place) as contender,
            watching(place.kubeconfig, contender.kind) as watched,
        ):
            found = await measure(contender, watched, count)
            return replace(found, contender=f"{found.contender}, bitmap") if bitmap else found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
