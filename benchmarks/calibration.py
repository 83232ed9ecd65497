"""How often the test of two rows tells equal models apart: the table of docs/evaluation.md.

    python benchmarks/calibration.py [--pairs 2000] [--permutations 999]

Made-up metrics of equal models on 200 users (80 where they have several targets): users differ, runs differ on every target by
1, and by `luck` as a whole: by .2 it is three times, by 1 fourteen times what their targets alone make of a run's mean. A floor
has one run, which another seed would not change. Shares of pairs with p at or below .05, .01 and .002; one should be at most
that, beyond sampling error. Last line: JSON {case: [shares]}.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from learec.evaluation.compare import BySession
from learec.evaluation.permutation import permutation_tests
from learec.evaluation.seeds import Pair

LEVELS = (0.05, 0.01, 0.002)
USERS = 200
Draw = Callable[[np.random.Generator], tuple[Any, Any, Any]]  # runs of both sides (R, T), and the targets' sessions (T,)


def runs(rng: np.random.Generator, n: int, users: Any, luck: float, quirk: float = 1.0) -> Any:
    """A metric of equal models (n, T): runs differ by `luck` as a whole and by `quirk` on every target."""
    return users + luck * rng.normal(size=(n, 1)) + quirk * rng.normal(size=(n, len(users)))


def sides(new: int, base: int, luck: float, of_base: tuple[float, float] | None = None) -> Draw:
    """Two agents; of_base: luck and quirk of the second, where they are others."""

    def draw(rng: np.random.Generator) -> tuple[Any, Any, Any]:
        users = rng.normal(size=USERS)
        return runs(rng, new, users, luck), runs(rng, base, users, *(of_base or (luck, 1.0))), np.arange(USERS)

    return draw


def beside_floor(n: int, luck: float, apart: float) -> Draw:
    """An agent and a floor, each better by `apart` on other users."""

    def draw(rng: np.random.Generator) -> tuple[Any, Any, Any]:
        users = rng.normal(size=USERS)
        new = runs(rng, n, users + apart * rng.normal(size=USERS), luck)
        return new, (users + apart * rng.normal(size=USERS))[None], np.arange(USERS)

    return draw


def many_targets(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """1 to 11 targets a user, each model better on other users."""
    sessions = np.repeat(np.arange(80), rng.integers(1, 12, 80))
    return *(runs(rng, 3, rng.normal(size=80)[sessions], 0.0) for _ in range(2)), sessions


CASES: dict[str, Draw] = {
    "1 and 1": sides(1, 1, 0.0),
    **{f"{n} and {n}": sides(n, n, 0.0) for n in (2, 3, 5)},
    **{f"{n} and {n}, luck .2": sides(n, n, 0.2) for n in (2, 3, 5)},
    **{f"{n} and {n}, luck 1": sides(n, n, 1.0) for n in (2, 3, 5)},
    "5 and 2, luck .2": sides(5, 2, 0.2),
    **{f"{n} and a floor, luck .1, a little better on other users": beside_floor(n, 0.1, 0.2) for n in (2, 3, 5)},
    **{f"{n} and a floor, luck .1, much better on other users": beside_floor(n, 0.1, 1.0) for n in (2, 3, 5)},
    **{f"{n} and a floor, luck 1": beside_floor(n, 1.0, 1.0) for n in (2, 3, 5)},
    **{
        f"{new} and {base}, luck .2, the second a tenth of it": sides(new, base, 0.2, (0.02, 0.1))
        for new, base in ((2, 2), (2, 5), (3, 3), (3, 5), (5, 5))
    },
    "3 and 3, 1 to 11 targets a user": many_targets,
}


def shares(draw: Draw, pairs: int, permutations: int) -> list[float]:
    """Of pairs with p at or below each level."""
    found = np.zeros(pairs)
    for trial in range(pairs):
        new, base, sessions = draw(np.random.default_rng(trial))
        found[trial] = permutation_tests([Pair(new, base)], BySession.of(sessions), permutations, trial)[0].p
    return [round(float((found <= level).mean()), 4) for level in LEVELS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--permutations", type=int, default=999)
    asked = parser.parse_args()
    found = {}
    for name, draw in CASES.items():
        found[name] = shares(draw, asked.pairs, asked.permutations)
        print(f"{name:60}", *(f"{share:.4f}" for share in found[name]), flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
