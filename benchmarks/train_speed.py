"""How fast SASRec trains: ours against RecTools, RePlay and RecBole, with equal settings, in turns, on the same CPU cores.

    python benchmarks/train_speed.py --data FOLDER [--logs amazon_scientific ...] [--rounds 3] [--venvs FOLDER]
    python benchmarks/train_speed.py --data FOLDER --logs amazon_scientific --quality 20
    python benchmarks/train_speed.py --data FOLDER --profile

FOLDER (or LEAREC_DATA) holds NAME/interactions.parquet (user_id, item_id, timestamp) and NAME/items.parquet. Every peer runs in
a virtual environment of its own, which is made from peers/NAME.txt if it is missing (minutes, and some GB in all). Dimension
64, 2 blocks, 1 head, length 50, batch 128, dropout 0.2, Adam 1e-3, softmax over all items (peers/stopwatch.py); each script
says where its library differs. Training parts of leave-one-out; a target is a real next item, padding does not count.

Targets a second are medians over the rounds. epoch: seconds for a whole pass, scaled where the time was over before. learec-lea:
SNQN with state, reward and augmented columns (3 actions, states of 256), set against the fastest peer's plain epoch.
Last line: JSON {log: {"targets_per_s", "fastest_peer", "ratio", "lea_ratio", "matmul_share"}}.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from learec.config import DataConfig
from learec.data.log import Part, load_log
from learec.data.prepare import prepare

PEERS = ("rectools", "replay", "recbole")
OURS, OURS_LEA = "learec", "learec-lea"
SCRIPTS = Path(__file__).parent / "peers"
TORCH = "torch==2.13.0"  # in every environment, and first: some libraries would bring a build for GPUs
Row = dict[str, Any]


def prepared(name: str, data: Path, folder: Path) -> Path:
    """A log's folder, with its training part as the Parquet file that the scripts read."""
    files = {"events": f"{name}/interactions.parquet", "items": f"{name}/items.parquet"}
    prepare(DataConfig(**files, split="leave_one_out", min_item_events=1), 0, data, folder / "log")
    training = load_log(folder / "log").training
    columns = {"user": training.session_of, "item": training.items.astype(np.int64), "timestamp": training.step_of}
    pl.DataFrame(columns).write_parquet(folder / "training.parquet")
    return folder


def python_of(peer: str, venvs: Path) -> str:
    """A peer's interpreter; its environment is made if it is missing or was left unfinished."""
    folder = venvs / peer
    python, ready = str(folder / "bin" / "python"), folder / "ready"
    if not ready.exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for wanted in ([TORCH], [TORCH, "--requirement", str(SCRIPTS / f"{peer}.txt")]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True, stderr=subprocess.DEVNULL)
        ready.touch()
    return python


class Contest:
    """Runs contestants, one process each, on the same number of threads."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.pythons = {peer: python_of(peer, options.venvs) for peer in options.peers}

    def run(self, name: str, folder: Path, *more: str) -> str:
        """What a contestant's script prints."""
        ours = name in (OURS, OURS_LEA)
        script = SCRIPTS / f"{'learec' if ours else name}_sasrec.py"
        command = [sys.executable if ours else self.pythons[name], str(script), str(folder / "training.parquet"), *more]
        if name == OURS_LEA:
            command.append("--lea")
        threads = str(self.options.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def timed(self, name: str, folder: Path) -> Row:
        """A contestant's JSON line, with targets_per_s and epoch, the seconds of a whole one."""
        times = ("--seconds", str(self.options.seconds), "--warm-up", str(self.options.warm_up))
        row: Row = json.loads(self.run(name, folder, *times).splitlines()[-1])
        row["targets_per_s"] = row["targets"] / row["seconds"]
        row["epoch"] = row["epoch_targets"] / row["targets_per_s"]
        return row


def in_turns(contest: Contest, log: str, folder: Path, rounds: int) -> Row:
    """All contestants, again and again; returns the log's entry in the last line."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for number in range(rounds):
        for name in (*contest.options.peers, OURS, OURS_LEA):
            row = contest.timed(name, folder)
            rows[name].append(row)
            print(f"{log}, round {number + 1}, {name}: {row['targets_per_s']:,.0f} targets/s, {row}", flush=True)
    speeds = {name: median(row["targets_per_s"] for row in found) for name, found in rows.items()}
    for name, found in rows.items():
        print(f"{log:20} {name:10} {speeds[name]:10,.0f} targets/s {median(row['epoch'] for row in found):8.2f} s an epoch")
    entry: Row = {"targets_per_s": round(speeds[OURS])}
    if contest.options.peers:
        fastest = max(contest.options.peers, key=lambda peer: speeds[peer])
        ratios = {"ratio": OURS, "lea_ratio": OURS_LEA}
        entry |= {"fastest_peer": fastest, **{key: round(speeds[name] / speeds[fastest], 2) for key, name in ratios.items()}}
    return {**entry, "matmul_share": round(median(row["matmul_share"] for row in rows[OURS]), 3)}


def quality(contest: Contest, folder: Path, epochs: int, peer: str) -> dict[str, float]:
    """NDCG@10 of the validation items of users who have a target, after so many epochs; all items ranked, seen ones masked."""
    log = load_log(folder / "log")
    targets = log.targets(Part.VALIDATION)
    targets = targets[log.sessions.step_of[targets] >= 2]
    wanted = pl.DataFrame({"user": log.sessions.session_of[targets], "item": log.sessions.items[targets].astype(np.int64)})
    found = {}
    for name in (OURS, peer):
        out = folder / f"{name}.parquet"
        contest.run(name, folder, "--epochs", str(epochs), "--recommend", str(out))
        ranks = pl.read_parquet(out, columns=["user", "item", "rank"]).cast(pl.Int64)
        hits = wanted.join(ranks, on=["user", "item"])["rank"].to_numpy()
        found[name] = round(float((1 / np.log2(hits + 1)).sum() / len(wanted)), 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LEAREC_DATA"), help="default: LEAREC_DATA")
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "learec-peers")
    parser.add_argument("--logs", nargs="+", default=["amazon_scientific", "amazon_beauty", "ml_100k"])
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0, help="timed, a contestant and round")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before, at most; one epoch if that is less")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quality", type=int, metavar="EPOCHS", help="then NDCG@10 of ours and the fastest peer")
    parser.add_argument("--profile", action="store_true", help="only print where the time of our step goes")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data folder with --data or LEAREC_DATA")
    if options.profile:
        options.peers = ()
    entries: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as name:
        contest = Contest(options, Path(name))
        for log in options.logs:
            folder = prepared(log, options.data, Path(name) / log)
            if options.profile:
                for ours in (OURS, OURS_LEA):
                    print(f"{log}, {ours}:\n{contest.run(ours, folder, '--profile', '--warm-up', '0')}", end="", flush=True)
                continue
            entries[log] = in_turns(contest, log, folder, options.rounds)
            if options.quality:
                peer = entries[log]["fastest_peer"]
                print(f"{log}: NDCG@10 after {options.quality} epochs {quality(contest, folder, options.quality, peer)}")
    print(json.dumps(entries))


if __name__ == "__main__":
    main()
