"""One SNQN training step over catalogs of 10,000 to 2,000,000 items: milliseconds and peak memory, each in its own process.

    python benchmarks/catalog.py [--items 10000 150000 1000000 2000000] [--steps 30]

The log is drawn: 20,000 sessions of 3 to 40 steps over items as popular as Zipf's law says. Only what a step costs is
measured, no quality. Beyond full_softmax_items (100,000) softmax and maximum are over a sample. Last line: JSON,
{n_items: {"step_ms", "peak_mb"}}; step_ms is a median, peak_mb the process's largest resident size.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

WARM_UP = 5
N_SESSIONS = 20_000


def main() -> None:
    """Measure every size in a fresh process, so that one's memory is not counted in another's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 150_000, 1_000_000, 2_000_000])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--objective", default="snqn")
    parser.add_argument("--one", type=int, help="measure this size here")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.steps, arguments.objective)))
        return
    found = {}
    for n_items in arguments.items:
        command = [sys.executable, __file__, "--one", str(n_items), "--steps", str(arguments.steps)]
        output = subprocess.run([*command, "--objective", arguments.objective], check=True, stdout=subprocess.PIPE, text=True)
        found[n_items] = json.loads(output.stdout.splitlines()[-1])
        print(f"{n_items:>9,} items: {found[n_items]['step_ms']:7.1f} ms a step, {found[n_items]['peak_mb']:,} MB", flush=True)
    print(json.dumps(found))


def measure(n_items: int, steps: int, objective: str) -> dict[str, float]:
    """Train a few batches as `learec train` does and time each."""
    import torch

    from learec.agents.agent import Agent
    from learec.agents.batches import Batches
    from learec.agents.learner import Learner
    from learec.config import AgentConfig
    from learec.fit import Plan, Task, step
    from learec.sampled_softmax import ItemSampler

    sessions = drawn_sessions(n_items)
    config = AgentConfig(objective=objective, dropout=0.2)
    batches = Batches(sessions, None, config, "cpu").epoch(1, 0)[: WARM_UP + steps]
    torch.manual_seed(0)
    cold = torch.as_tensor(np.setdiff1d(np.arange(1, n_items + 1), sessions.items))
    learner = Learner([Agent(config, n_items, 0, cold)], ItemSampler(sessions.items, config.n_sampled, "cpu"), True)
    task = Task(
        learner=learner.tensors(), optimizers=learner.optimizers, batches=lambda epoch: batches, losses=learner.losses,
        validate=lambda: {}, before_step=learner.prepare_step, after_step=learner.follow,
    )  # fmt: skip
    seconds = []
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        step(task, batch, Plan(1, None, 0), (1, number))
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"step_ms": round(1000 * statistics.median(seconds[WARM_UP:]), 1), "peak_mb": peak}


def drawn_sessions(n_items: int):
    """Sessions over a catalog in which the item of rank r is as likely as 1 / r."""
    from learec.data.log import Sessions

    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 41, N_SESSIONS)
    weights = np.cumsum(1 / np.arange(1, n_items + 1))
    items = 1 + np.searchsorted(weights, rng.random(lengths.sum()) * weights[-1])
    ones = np.ones(len(items), dtype=np.float32)
    return Sessions(np.concatenate([[0], np.cumsum(lengths)]), items, np.zeros(len(items), dtype=np.int64), ones)


if __name__ == "__main__":
    main()
