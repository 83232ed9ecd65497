"""What a token network loses against trained tokens: text loss on items that it was not trained on.

    python benchmarks/amortised_tokens.py RUN_FOLDER [--sample 600] [--held-out 128] [--epochs 2] [--visits 6]

RUN_FOLDER has log/, such as runs/industrial. The network learns from `sample` items for `epochs`; for comparison each
held-out item's own token is trained for `visits` epochs. SmolLM2, float32. Last line: JSON {row: text loss in nats a text token}.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learec.config import EnvironmentConfig
from learec.data.log import load_log
from learec.environment.item_tokens import make_item_tokens
from learec.environment.llm import LLM, load_llm
from learec.environment.texts import TokenIds
from learec.environment.token_training import BATCH_ITEMS, TokenTraining, text_batch, text_loss
from learec.progress import Reporter


@torch.inference_mode()
def mean_loss(llm: LLM, tokens: Tensor, ids: TokenIds) -> float:
    total = words = 0.0
    for start in range(0, len(ids), BATCH_ITEMS):
        places = np.arange(start, min(start + BATCH_ITEMS, len(ids)))
        batch = text_batch(places, ids, tokens.device)
        n = int(batch.real.sum())
        total, words = total + float(text_loss(llm, tokens[batch.places], batch)) * n, words + n
    return round(total / words, 4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, value in (("sample", 600), ("held-out", 128), ("epochs", 2), ("visits", 6), ("max-text-tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    log, reporter, scratch = load_log(asked.folder / "log"), Reporter(), Path(tempfile.mkdtemp())
    config = EnvironmentConfig(max_text_tokens=asked.max_text_tokens, item_token_epochs=asked.epochs)
    llm = load_llm(config, "cpu")
    made = make_item_tokens(llm, log, config, 0, scratch, reporter)
    ids = [[], *llm.token_ids(log.catalog.table["text"].to_list(), config.max_text_tokens)]
    order = np.random.default_rng(0).permutation(np.flatnonzero(made.texts.shaping))
    sample, held_out = order[: asked.sample], order[asked.sample : asked.sample + asked.held_out]
    texts, means = [ids[number] for number in held_out], made.tokens[held_out]
    shuffled = np.random.default_rng(1).permutation(len(means))
    results, start = {}, time.monotonic()

    def tell(row: str, tokens: Tensor) -> None:
        results[row] = mean_loss(llm, tokens, texts)
        print(f"{row}: {results[row]} ({time.monotonic() - start:.0f} s)", flush=True)

    tell("the same token for all", torch.zeros_like(means))
    tell("mean", means)
    tell("mean, shuffled", means[shuffled])
    network = TokenTraining(llm, config, 0, scratch, reporter).network(made.tokens[sample], [ids[number] for number in sample])
    tell("network", network.tokens(means))
    tell("network, shuffled", network.tokens(means)[shuffled])
    own = TokenTraining(llm, config.model_copy(update={"item_token_epochs": asked.visits}), 0, scratch, reporter)
    trained = own.trained(means, texts, 0.1 * float(made.space.tokens.deviation), "held-out-item")
    tell("own token, trained", trained)
    tell("own token, trained, shuffled", trained[shuffled])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
