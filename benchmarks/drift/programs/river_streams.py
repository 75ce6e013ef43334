"""Streams of river's generators; runs in an environment of its own.

In: a folder and seeds as arguments. Out: `<stream>-<seed>.npz` with rows `x` and classes `y` in it. Where a
stream changes it does so at item CHANGE (two generators, one after the other: `ConceptDriftStream` of width 1
overflows there).
"""

import sys
from itertools import chain, islice
from pathlib import Path

import numpy as np
from river.datasets import synth

ITEMS, CHANGE = 15_000, 10_000


def sudden(before, after):
    return chain(islice(before, CHANGE), islice(after, ITEMS - CHANGE))


def sea(variant, seed):
    return synth.SEA(variant=variant, noise=0.1, seed=seed)


def gradual(seed):
    return synth.ConceptDriftStream(sea(0, seed), sea(3, seed + 1000), seed=seed, position=CHANGE, width=2000)


STREAMS = {
    "SEA 0→3": lambda seed: sudden(sea(0, seed), sea(3, seed + 1000)),
    "SEA 0→3, width 2000": lambda seed: islice(gradual(seed), ITEMS),
    "Agrawal 0→2": lambda seed: sudden(
        synth.Agrawal(classification_function=0, perturbation=0.05, seed=seed),
        synth.Agrawal(classification_function=2, perturbation=0.05, seed=seed + 1000),
    ),
    "STAGGER 0→1": lambda seed: sudden(
        synth.STAGGER(classification_function=0, seed=seed),
        synth.STAGGER(classification_function=1, seed=seed + 1000),
    ),
    "Sine 0→1": lambda seed: sudden(
        synth.Sine(classification_function=0, seed=seed),
        synth.Sine(classification_function=1, seed=seed + 1000),
    ),
    "Mixed 0→1": lambda seed: sudden(
        synth.Mixed(classification_function=0, seed=seed),
        synth.Mixed(classification_function=1, seed=seed + 1000),
    ),
    "no change": lambda seed: islice(sea(0, seed), ITEMS),
    "benign": lambda seed: islice(sea(0, seed), ITEMS),
}
folder = Path(sys.argv[1])
for name, stream in STREAMS.items():
    for seed in map(int, sys.argv[2:]):
        rows, classes = [], []
        for features, label in stream(seed):
            rows.append([float(value) for value in features.values()])
            classes.append(int(label))
        x = np.array(rows)
        if name == "benign":  # the third feature of SEA says nothing about its class
            x[CHANGE:, 2] += 4.0
        np.savez(folder / f"{name}-{seed}.npz", x=x, y=np.array(classes))
