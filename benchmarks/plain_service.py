"""What a user would write to serve an agent: torch, FastAPI, one request after the other. benchmarks/serve.py measures it.

    python benchmarks/plain_service.py RUN AGENT PORT [--async]

The endpoint is a def (FastAPI runs it in a thread pool) or, with --async, an async def (it runs in the event loop);
benchmarks/serve.py takes the faster one. uvicorn with uvloop and httptools, inference mode, one forward per request,
torch.topk over all items.
"""

import argparse
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from learec.agents.agent import load_agent
from learec.data.log import load_log


class Asked(BaseModel):
    """A request."""

    history: list[str]
    k: int = 10


class Item(BaseModel):
    """One recommended item."""

    item_id: str
    title: str
    score: float


class Recommended(BaseModel):
    """A reply."""

    items: list[Item]


def make_app(run_folder: Path, agent_name: str, *, in_event_loop: bool) -> FastAPI:
    """The service of one agent."""
    name, seed = agent_name.split("/")
    agent, _ = load_agent(run_folder / "agents" / name / f"seed-{seed}", "cpu")
    agent.eval()
    catalog = load_log(run_folder / "log").catalog
    numbers, ids, titles = catalog.numbers, catalog.ids, catalog.titles
    app = FastAPI()

    def answer(asked: Asked) -> Recommended:
        known = [numbers[item_id] for item_id in asked.history if item_id in numbers]
        with torch.inference_mode():
            hidden = agent(torch.tensor([known[-agent.config.max_length :]]))
            scores = agent.logits(hidden[:, -1])[0]
            scores[known] = -torch.inf
            best = torch.topk(scores, asked.k)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Recommended(items=[Item(item_id=ids[number], title=titles[number], score=score) for number, score in pairs])

    if in_event_loop:

        @app.post("/recommend")
        async def recommend_in_loop(asked: Asked) -> Recommended:
            return answer(asked)

    else:

        @app.post("/recommend")
        def recommend(asked: Asked) -> Recommended:
            return answer(asked)

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("agent")
    parser.add_argument("port", type=int)
    parser.add_argument("--async", dest="in_event_loop", action="store_true")
    options = parser.parse_args()
    app = make_app(options.run, options.agent, in_event_loop=options.in_event_loop)
    uvicorn.run(app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
