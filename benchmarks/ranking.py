"""How fast all targets are ranked among all items: a SASRec agent and the floors, lists included, against the plain way.

The log is drawn at random: popularity falls as a power of the place, histories have 3 to 200 items, 12 in the mean. Speed does
not depend on what an agent has learnt, so it is not trained.

    OMP_NUM_THREADS=2 python benchmarks/ranking.py [--users 20000] [--floor-users 2000] [--repeats 5]

All ways are timed in turn, and the median counts. Last line: JSON {"users_per_minute_12k", "with_lists", "plain", "ratio",
"floors": {name: ...}}, users a minute but for the ratio.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from learec.agents.agent import Agent
from learec.config import AgentConfig, EvaluationConfig
from learec.data.log import Ints, Sessions
from learec.evaluation.floors import first, floors
from learec.evaluation.metrics import HISTORY, Scorer, ranking, ranks

ITEMS, BLOCK = 12_000, 1024


def drawn_sessions(users: int) -> Sessions:
    rng = np.random.default_rng(0)
    lengths = np.clip(np.round(rng.lognormal(2.2, 0.8, users)), 3, HISTORY).astype(np.int64) + 1
    popularity = np.arange(1, ITEMS + 1) ** -0.8
    items = rng.choice(np.arange(1, ITEMS + 1), lengths.sum(), p=popularity / popularity.sum())
    return Sessions(np.concatenate([[0], np.cumsum(lengths)]), items, np.zeros(len(items), int), np.ones(len(items), np.float32))


def plain_ranks(scorer: Scorer, sessions: Sessions, targets: Ints) -> Ints:
    """What is measured against: 1,024 targets at a time in the log's order, masked in a copy of all their scores."""
    found = []
    for start in range(0, len(targets), BLOCK):
        block = targets[start : start + BLOCK]
        scores = np.nan_to_num(scorer.scores(*sessions.histories(block, HISTORY)), copy=True, nan=-np.inf)
        scores[sessions.seen(block)] = -np.inf
        scores[:, 0] = -np.inf
        own = np.take_along_axis(scores, sessions.items[block].astype(np.int64)[:, None], axis=1)
        found.append(np.where(np.isneginf(own[:, 0]), scores.shape[1] - 1, (scores >= own).sum(axis=1)))
    return np.concatenate(found)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def agent_speed(users: int, repeats: int) -> dict[str, float]:
    sessions = drawn_sessions(users)
    targets = sessions.offsets[1:] - 1
    torch.manual_seed(0)
    agent = Agent(AgentConfig(hidden_size=64), ITEMS, 0).eval()
    ways: dict[str, Callable[[], Ints]] = {
        "plain": lambda: plain_ranks(agent, sessions, targets),
        "users_per_minute_12k": lambda: ranks(agent, sessions, targets, mask_seen=True, max_length=HISTORY),
        "with_lists": lambda: ranking(agent, sessions, targets, mask_seen=True, max_length=HISTORY, k=20).ranks,
    }
    # Products of matrices of another shape may round otherwise, and then two scores next to each other change places.
    if (apart := np.abs(ways["plain"]() - ways["with_lists"]()).max()) > 2:
        raise SystemExit(f"ranks differ by up to {apart} places from the plain way's")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            taken[name].append(seconds(way))
    ratio = statistics.median(plain / ours for plain, ours in zip(taken["plain"], taken["users_per_minute_12k"], strict=True))
    return {**{name: round(60 * users / statistics.median(times)) for name, times in taken.items()}, "ratio": round(ratio, 2)}


def floor_speed(users: int, repeats: int) -> dict[str, int]:
    sessions = drawn_sessions(max(users, 20_000))
    targets = sessions.offsets[1:] - 1
    training = sessions.select(~np.isin(np.arange(sessions.n_steps), targets))
    vectors = np.random.default_rng(1).standard_normal((ITEMS + 1, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = {}
    for name, floor in floors(EvaluationConfig(), training, ITEMS, vectors, choose=first).items():
        some = targets[:users]
        times = [seconds(lambda: ranks(floor.scorer, sessions, some, mask_seen=True, max_length=HISTORY)) for _ in range(repeats)]  # noqa: B023
        found[name] = round(60 * users / statistics.median(times))
        print(f"{name}: {found[name]:,} users a minute", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--floor-users", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    of_floors = floor_speed(asked.floor_users, asked.repeats)
    of_agent = agent_speed(asked.users, asked.repeats)
    print(json.dumps({**of_agent, "floors": of_floors, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
