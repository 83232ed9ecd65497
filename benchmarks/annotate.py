"""How fast an environment reads a log: the packed pass against batched prompts of equal length, one for each (state, action).

    python benchmarks/annotate.py --data FOLDER [--logs amazon_scientific ml_100k] [--device cuda] [--dtype bfloat16]

FOLDER (or LEAREC_DATA) holds NAME/interactions.parquet and NAME/items.parquet. Each step's action and 5 others, drawn at random
(speed does not depend on which), are scored: 6 pairs a step. A random sample of sessions is packed; of their pairs at least
--plain-pairs are scored by one prompt each, in batches of equal length with as many tokens as a packed pass. Both ways are timed
in turn, --rounds times on other sessions, and medians count; where both score a pair, their rewards are compared. The heads are
random, so that rewards depend on what the language model says; how they were trained changes no speed.

matmul_share: multiplications and additions a second that the packed pass needs (weights for each slot, attention for what a slot
sees) over those of a product of two square matrices in this process and dtype. peak_mb: of the process; on a GPU, of its memory.
With another dtype than float32, rewards are also compared with those of float32.
Last line: JSON {log: {"pairs_per_s", "ratio", "matmul_share", "peak_mb"}}.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from scipy.stats import spearmanr
from torch import nn

from learec.config import DataConfig, EnvironmentConfig
from learec.data.log import Floats, Ints, Log, Sessions, load_log
from learec.data.prepare import prepare
from learec.data.windows import batches_by_budget, windows_of
from learec.environment.environment import ROW_SLOTS, Environment, candidates_of
from learec.environment.item_tokens import make_item_tokens
from learec.environment.llm import load_llm
from learec.environment.packing import pack, tree_sizes
from learec.progress import Reporter

EXTRA = 5  # actions a step beside the logged one
LOGS: dict[str, dict[str, Any]] = {
    "amazon_scientific": {"text": "{title} by {brand}, in {category}", "repeats": "drop", "min_session_events": 5},
    "ml_100k": {"text": "{title}"},
}


@dataclass(frozen=True)
class Sample:
    """Sessions with further actions for each step, (E, EXTRA)."""

    sessions: Sessions
    actions: Ints

    @property
    def n_pairs(self) -> int:
        return self.actions.size + len(self.actions)


@dataclass(frozen=True)
class Prompts:
    """P prompts of L items each: the history that the packed pass lets a step see, then the action."""

    items: Ints  # (P, L)
    steps: Ints  # (P,)
    columns: Ints  # (P,) which of the step's actions: 0 the logged one


def samples_of(log: Log, rounds: int, slots: int) -> list[Sample]:
    """Sessions in random order, cut into as many samples of about `slots` slots as are asked for."""
    rng, training = np.random.default_rng(0), log.training
    order = rng.permutation(np.flatnonzero(training.lengths))
    parts = batches_by_budget(training.lengths * (1 + EXTRA), order, slots)[:rounds]
    return [_sample(training, part, rng, log.catalog.n_items) for part in parts]


def _sample(training: Sessions, numbers: Ints, rng: np.random.Generator, n_items: int) -> Sample:
    steps = np.concatenate([np.arange(training.offsets[n], training.offsets[n + 1]) for n in numbers])
    offsets = np.concatenate([[0], np.cumsum(training.lengths[numbers])])
    sessions = Sessions(offsets, training.items[steps], training.events[steps], training.rewards[steps])
    return Sample(sessions, rng.integers(1, n_items + 1, (len(steps), EXTRA)).astype(np.int32))


def prompts_of(sample: Sample, history: int) -> dict[int, Prompts]:
    """All pairs of a sample by the length of their prompt."""
    windows = windows_of(sample.sessions, np.arange(sample.sessions.n_sessions), history)
    row, place = np.nonzero(windows.scored)
    found = {}
    for length in np.unique(place):
        here, steps = row[place == length], windows.steps[row, place][place == length]
        actions = np.column_stack([sample.sessions.items[steps], sample.actions[steps]])
        histories = np.repeat(windows.items[here, :length], EXTRA + 1, axis=0)
        columns = np.tile(np.arange(EXTRA + 1), len(here))
        found[int(length)] = Prompts(np.column_stack([histories, actions.ravel()]), np.repeat(steps, EXTRA + 1), columns)
    return found


def batches_of(sample: Sample, environment: Environment, at_least: int) -> list[Prompts]:
    """Batches of equal length, drawn from all of them at random until they hold so many pairs."""
    batches = []
    for length, prompts in prompts_of(sample, environment.config.history).items():
        size = max(environment.config.token_budget // (len(environment.prompt) + length + 1), 1)
        for start in range(0, len(prompts.steps), size):
            cut = slice(start, start + size)
            batches.append(Prompts(prompts.items[cut], prompts.steps[cut], prompts.columns[cut]))
    order = np.random.default_rng(1).permutation(len(batches))
    held = np.cumsum([len(batches[number].steps) for number in order])
    return [batches[number] for number in order[: int(np.searchsorted(held, at_least)) + 1]]


@torch.inference_mode()
def plain_rewards(environment: Environment, prompts: Prompts) -> Floats:
    """One prompt a pair, all of one length: plain causal attention without a mask; the state is at the last place but one."""
    items = torch.as_tensor(prompts.items.astype(np.int64), device=environment.prompt.device)
    start = environment.prompt.expand(len(items), -1, -1)
    inputs = torch.cat([start, environment.item_tokens[items].to(start.dtype)], dim=1)
    hidden = environment.decoder(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, -2:].float()
    age = torch.arange(items.shape[1] - 2, -1, -1, device=items.device)
    weights = environment.config.decay ** age.float()
    skip = nn.functional.normalize(torch.einsum("l,bld->bd", weights, environment.vectors[items[:, :-1]]), dim=-1)
    similarity = (environment.state_model(hidden[:, 0], skip) * environment.vectors[items[:, -1]]).sum(-1)
    found: Floats = environment.reward_model(hidden[:, 1], similarity).cpu().numpy()
    return found


def needed_flops(environment: Environment, sample: Sample) -> float:
    """Of the packed pass: 2 for each weight and slot that holds something, 4 * width for each slot and slot that it sees."""
    linears = [module for module in environment.decoder.modules() if isinstance(module, nn.Linear)]
    weights, settings = sum(linear.weight.numel() for linear in linears), environment.llm.settings
    windows = windows_of(sample.sessions, np.arange(sample.sessions.n_sessions), environment.config.history)
    proposed = candidates_of(windows, sample.actions)
    sizes, flops = tree_sizes(windows, proposed, environment.widths), 0.0
    for rows in batches_by_budget(sizes, np.argsort(-sizes, kind="stable"), environment.config.token_budget):
        batch = windows.take(rows)
        packed = pack(batch, proposed[rows, : batch.items.shape[1]], environment.widths, len(environment.prompt), ROW_SLOTS)
        used = (packed.items > 0).sum() + len(packed.items) * len(environment.prompt)
        flops += 2.0 * weights * used + 4.0 * settings.hidden_size * settings.num_hidden_layers * packed.mask.sum()
    return flops


def seconds(device: str, work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start, made


def peak_flops(device: str, dtype: torch.dtype) -> float:
    """Of the best of some products of square matrices."""
    size = 2048 if device == "cpu" else 8192
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    left @ right
    return max(2.0 * size**3 / seconds(device, lambda: left @ right)[0] for _ in range(8))


def environment_of(config: EnvironmentConfig, log: Log, device: str, folder: Path) -> Environment:
    """An environment with mean tokens and random heads, the same for every dtype."""
    llm = load_llm(config, device)
    items = make_item_tokens(llm, log, config, 0, folder, Reporter(Console(quiet=True)))
    environment = Environment(llm, config, items.tokens, torch.from_numpy(items.vectors).to(device))
    generator = torch.Generator().manual_seed(1)
    for linear in (environment.state_model.projection, environment.reward_model.head):
        drawn = torch.randn(linear.weight.shape, generator=generator) / linear.weight.shape[1] ** 0.5
        linear.weight.data.copy_(drawn)
    return environment.eval()


def measure(name: str, asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    files = {"events": f"{name}/interactions.parquet", "items": f"{name}/items.parquet"}
    prepare(DataConfig(**files, split="leave_one_out", **LOGS[name]), 0, asked.data, folder / "log")
    log, device = load_log(folder / "log"), asked.device
    budget = {} if asked.token_budget is None else {"token_budget": asked.token_budget}
    config = EnvironmentConfig(dtype=asked.dtype, **budget)
    environment = environment_of(config, log, device, folder)
    samples = samples_of(log, asked.rounds, asked.slots)
    environment.annotate(samples[0].sessions, samples[0].actions[:, :0])  # the first pass is slower: memory is new
    peak = peak_flops(device, environment.llm.dtype)
    ours, plain, shares, apart = [], [], [], []
    for number, sample in enumerate(samples):
        taken, (_, rewards, others) = seconds(device, lambda: environment.annotate(sample.sessions, sample.actions))  # noqa: B023
        ours.append(sample.n_pairs / taken)
        shares.append(needed_flops(environment, sample) / taken / peak)
        batches = batches_of(sample, environment, asked.plain_pairs // asked.rounds + 1)
        taken, theirs = seconds(device, lambda: [plain_rewards(environment, batch) for batch in batches])  # noqa: B023
        plain.append(sum(len(batch.steps) for batch in batches) / taken)
        mine = np.column_stack([rewards, others])
        apart += [mine[batch.steps, batch.columns] - reward for batch, reward in zip(batches, theirs, strict=True)]
        if asked.dtype != "float32" and number == 0:
            told_dtype(asked.dtype, mine, environment_of(EnvironmentConfig(**budget), log, device, folder), sample)
    found = {
        "pairs_per_s": round(median(ours), 1),
        "ratio": round(median(mine / theirs for mine, theirs in zip(ours, plain, strict=True)), 1),
        "matmul_share": round(median(shares), 3),
        "peak_mb": round(peak_mb(device)),
    }
    steps = median(ours) / (1 + EXTRA)
    sessions = steps * median(sample.sessions.n_sessions / sample.sessions.n_steps for sample in samples)
    print(
        f"{name}, histories of {log.training.n_steps / log.training.n_sessions:.1f} in the mean: {sessions:.1f} sessions, "
        f"{steps:.1f} steps, {median(ours):.1f} pairs a second; one prompt a pair: {median(plain):.2f} ({sum(map(len, apart))} "
        f"pairs); a product of squares {peak / 1e9:.0f} GFLOP/s; rewards of both ways differ by "
        f"{np.abs(np.concatenate(apart)).max():.1e} at most",
        flush=True,
    )
    return found


def told_dtype(dtype: str, mine: Floats, exact: Environment, sample: Sample) -> None:
    """What a smaller dtype changes in the rewards."""
    _, rewards, others = exact.annotate(sample.sessions, sample.actions)
    theirs = np.column_stack([rewards, others])
    asked = sample.sessions.step_of > 0
    wins = [(found[asked, :1] > found[asked, 1:]) for found in (mine, theirs)]
    print(
        f"{dtype} against float32: rewards differ by {np.abs(mine - theirs)[asked].mean() / theirs[asked].std():.3f} standard "
        f"deviations in the mean, rank correlation {spearmanr(mine[asked].ravel(), theirs[asked].ravel()).statistic:.4f}, "
        f"{(wins[0] != wins[1]).mean():.2%} of the pairs of logged and other action change order",
        flush=True,
    )


def peak_mb(device: str) -> float:
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LEAREC_DATA"), help="default: LEAREC_DATA")
    parser.add_argument("--logs", nargs="+", default=list(LOGS), choices=list(LOGS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--token-budget", type=int, help="tokens of one pass (default: the environment's)")
    parser.add_argument("--slots", type=int, default=12_000, help="of a round, about: logged and other actions")
    parser.add_argument("--plain-pairs", type=int, default=600, help="scored one prompt each, over all rounds")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if asked.data is None:
        raise SystemExit("--data FOLDER is missing, and LEAREC_DATA is not set")
    found = {}
    for name in asked.logs:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, asked, Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
