"""Load on `learec serve`, and on the service a user would write with torch and FastAPI (plain_service.py), on loopback.

    python benchmarks/serve.py [--run RUN --agent NAME/SEED] [--data FOLDER] [--seconds 60]

Generator and server share the machine's cores. Without --run, a SASRec (hidden 64, 2 layers) is trained for one epoch on
amazon_beauty, 12,101 items, from the data folder, and exported: speed does not depend on how good it is. Then, with k = 10:
64 clients that ask for one history at a time, 10 % of which hang up after asking, on ours and on the plain service in turns
(the faster one of its two forms counts); batches of 64 histories by 8 clients; 300 requests a second at fixed times, where the
time to a reply counts from when the request should have been sent. Fails if a reply is not 200, differs from what the
Recommender gives one by one, or memory grows. Prints one JSON object as its last line: {"requests_per_s", "recs_per_s"
(histories in batches), "p99_ms" (at 300 requests/s), "ratio" (of single requests/s, to the plain service)}.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import load
import numpy as np
from load import Measured, closed_loop, paced, post

from learec.data.log import load_log
from learec.serving.recommender import Answer, Query, Recommender

K, BATCH, CLIENTS, BATCH_CLIENTS, PACE, HANG_UP = 10, 64, 64, 8, 300, 0.1
N_HISTORIES, ROUNDS = 1000, 3
OURS = "single requests"
Rates = dict[str, Measured]
MOST_GROWTH = 20.0  # MiB, from the first third of the load to the last
PLAIN_PORT = 8431
RECIPE = """
name = "beauty"
[data]
events = "amazon_beauty/interactions.parquet"
items = "amazon_beauty/items.parquet"
split = "leave_one_out"
[agents.sasrec]
hidden_size = 64
epochs = 1
"""


def make_run(folder: Path, data: Path) -> Path:
    """A run with one exported agent."""
    recipe = folder / "beauty.toml"
    recipe.write_text(RECIPE)
    run = folder / "run"
    for command in ("prepare", "train"):
        learec(command, str(recipe), "--data", str(data), "--folder", str(run))
    learec("export", str(run), "--onnx")
    return run


def learec(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "learec", *arguments], check=True, stdout=subprocess.DEVNULL)


def histories_of(run: Path) -> list[list[str]]:
    """What sessions had before their last item, the newest 50."""
    log = load_log(run / "log")
    offsets, items, ids = log.sessions.offsets, log.sessions.items, log.catalog.ids
    drawn = np.random.default_rng(0).choice(log.sessions.n_sessions, N_HISTORIES, replace=log.sessions.n_sessions < N_HISTORIES)
    return [[ids[number] for number in items[max(offsets[one], offsets[one + 1] - 51) : offsets[one + 1] - 1]] for one in drawn]


@contextmanager
def served(run: Path, agent: str) -> Iterator[tuple[int, int]]:
    """`learec serve`: its port and process."""
    command = [sys.executable, "-m", "learec", "serve", str(run), "--port", "0", "--agents", agent]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = process.stdout or []
            port = next(int(found[1]) for line in lines if (found := re.search(r"at http://[^ ]+:(\d+) ", line)))
            answers(port)
            yield port, process.pid
        finally:
            process.terminate()


@contextmanager
def plain(run: Path, agent: str, form: int) -> Iterator[int]:
    """The plain service in its form of that number: its port."""
    program, port = Path(__file__).with_name("plain_service.py"), PLAIN_PORT + form
    # One thread a request is faster for it than the two that torch would take: they get in each other's way.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(program), str(run), agent, str(port), *(["--async"] if form else [])]
    with subprocess.Popen(command, env=environment) as process:
        try:
            answers(port)
            yield port
        finally:
            process.terminate()


def answers(port: int) -> None:
    """Wait until it does."""
    end = time.monotonic() + 120
    while True:
        try:
            load.Client(port).socket.close()
            return
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def resident(process: int) -> float:
    """MiB in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def check(what: str, measured: Measured, wanted: Sequence[Answer]) -> None:
    """Every reply is 200 and what the Recommender gives for the same history alone."""
    if set(measured.statuses) != {200}:
        raise SystemExit(f"{what}: wanted nothing but 200, got {dict(measured.statuses)}")
    for number, body in measured.replies:
        found = json.loads(body)["answers"]
        for place, answer in enumerate(found):
            one = wanted[(number * len(found) + place) % len(wanted)]
            same = [item["item_id"] for item in answer["items"]] == [item.item_id for item in one.items]
            near = np.allclose([item["score"] for item in answer["items"]], [item.score for item in one.items], atol=1e-4)
            if not (same and near):
                raise SystemExit(f"{what}: request {number} got another answer than the Recommender gives: {answer} not {one}")


def told(what: str, measured: Measured, per_request: int = 1) -> float:
    """Print a phase; requests or histories a second."""
    rate = measured.per_second * per_request
    times = ", ".join(f"p{percentile} {measured.milliseconds(percentile):.1f} ms" for percentile in (50, 99))
    print(f"{what}: {rate:,.0f}/s, {times}, {dict(measured.statuses)}, hung up {measured.cancelled}", flush=True)
    return rate


def bodies(histories: list[list[str]], batch: int) -> list[bytes]:
    """Requests for one history each (0) or for `batch` each."""
    twice = histories * 2
    starts = [number * batch % len(histories) for number in range(len(histories))]
    asked = [{"histories": twice[at : at + batch]} for at in starts] if batch else [{"history": history} for history in histories]
    return [post("/recommend", json.dumps({**one, "k": K}).encode()) for one in asked]


def measure_single(ports: dict[str, int], histories: list[list[str]], seconds: float, memory: Callable[[], None]) -> Rates:
    """Ours and the plain ones in turns, so that whatever else the machine does falls on all of them."""
    requests, found = bodies(histories, 0), {name: Measured() for name in ports}
    for port in ports.values():
        closed_loop(port, requests, CLIENTS, 2)
    for _ in range(ROUNDS):
        for name, port in ports.items():
            ours = name == OURS
            share = seconds / ROUNDS if ours else seconds / ROUNDS / 2
            found[name].add(closed_loop(port, requests, CLIENTS, share, HANG_UP, memory if ours else lambda: None))
    return found


def measure(run: Path, agent: str, seconds: float) -> dict[str, float]:
    """All figures of the last line."""
    histories = histories_of(run)
    recommender = Recommender.load(run, agent)
    wanted = [recommender.answer([Query(tuple(history), K)])[0] for history in histories]
    with served(run, agent) as (port, process), plain(run, agent, 0) as in_threads, plain(run, agent, 1) as in_loop:
        memory: list[float] = []
        ports = {OURS: port, "plain service, def": in_threads, "plain service, async def": in_loop}
        single = measure_single(ports, histories, seconds, lambda: memory.append(resident(process)))
        rates = {name: told(name, measured) for name, measured in single.items()}
        for name, measured in single.items():
            if set(measured.statuses) != {200}:
                raise SystemExit(f"{name}: wanted nothing but 200, got {dict(measured.statuses)}")
        check(OURS, single[OURS], wanted)
        batched = closed_loop(port, bodies(histories, BATCH), BATCH_CLIENTS, seconds / 3)
        recs = told("histories in batches", batched, BATCH)
        check("histories in batches", batched, wanted)
        steady = paced(port, bodies(histories, 0), PACE, seconds / 3)
        told(f"{PACE} requests a second", steady)
        check(f"{PACE} requests a second", steady, wanted)
    check_memory(memory)
    ratio = rates.pop(OURS) / max(rates.values())
    return {
        "requests_per_s": round(single[OURS].per_second),
        "recs_per_s": round(recs),
        "p99_ms": round(steady.milliseconds(99), 1),
        "ratio": round(ratio, 1),
    }


def check_memory(memory: list[float]) -> None:
    """MiB in every second under load: no more in the last third than in the first."""
    third = max(len(memory) // 3, 1)
    growth = median(memory[-third:]) - median(memory[:third])
    print(f"memory {median(memory[-third:]):.0f} MiB, grown by {growth:.1f}", flush=True)
    if growth > MOST_GROWTH:
        raise SystemExit(f"memory grew by {growth:.1f} MiB: {memory}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run whose agent was trained and exported")
    parser.add_argument("--agent", default="sasrec/0")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LEAREC_DATA", "../shared/data")))
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or make_run(Path(folder), options.data)
        print(json.dumps(measure(run, options.agent, options.seconds)))


if __name__ == "__main__":
    main()
