"""What item tokens know of the next item: content nearest neighbours over each kind of vector, nothing trained on the log.

    python benchmarks/item_tokens.py RUN_FOLDER [--trained] [--text-layers 6 ...]     (a run with log/, such as runs/industrial)

All validation targets, full ranking, seen items masked; a history's direction is the sum of decay ** age * vector (decay .8).
Beside it the same vectors in the rule with item-kNN (shrinkage 50) and the best of the weights 1, 2, 4 on these targets.
Vectors: means of the text's token embeddings of SmolLM2 as they are, centred, and whitened (what the environment has unless
text_layers is set); with --text-layers, means of the texts' hidden vectors after so many layers, whitened; TF-IDF in 256
directions, in 1,024 (the control "text") and others, as they are and whitened; with --trained, tokens trained to generate the
item's text, whose text loss beside a shuffled item's and the mean token's is told too. Search by title: of how many items the
title alone, made a vector as a new item's text would be, finds the item whose text it belongs to, first and among ten (items of
equal titles count as found). Last line: JSON {vectors: NDCG@10}.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from amortised_tokens import mean_loss

from learec.config import EnvironmentConfig
from learec.data.log import Floats, Ints, Log, Part, load_log
from learec.data.neighbours import ContentKNN, ItemKNN, Rule, unit_rows
from learec.data.tfidf import fewer_directions, tfidf_vectors
from learec.environment.item_tokens import make_item_tokens, pooled
from learec.environment.llm import load_llm
from learec.environment.texts import Texts
from learec.environment.whitening import whitened
from learec.evaluation.metrics import HISTORY, Scorer, ndcg, ranks
from learec.progress import Reporter

DECAY, SHRINKAGE, WEIGHTS = 0.8, 50.0, (1, 2, 4)
SIZE, LOSS_ITEMS = 256, 256
TFIDF_SIZES = (256, 512, 1024, 2048)


def next_item_ndcg(log: Log, targets: Ints, scorer: Scorer) -> tuple[float, float]:
    """NDCG@10 over targets, and its standard error."""
    gains = ndcg(ranks(scorer, log.sessions, targets, mask_seen=True, max_length=HISTORY), 10)
    return float(gains.mean()), float(gains.std() / len(gains) ** 0.5)


def centred(tokens: Floats, texts: Texts) -> Floats:
    moved = np.where(texts.present[:, None], tokens - tokens[texts.shaping].mean(0), 0)
    return unit_rows(moved)


def found_by_title(log: Log, titles: Floats, vectors: Floats) -> tuple[float, float]:
    """Share of items that are first, and among ten, for their title (N, W) among item vectors (N + 1, W)."""
    group = np.unique(log.catalog.table["title"].to_numpy(), return_inverse=True)[1]
    warm = np.setdiff1d(np.arange(1, log.catalog.n_items + 1), log.cold_items)
    scores = titles[warm - 1] @ vectors[1:].T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    hits = group[best] == group[warm - 1][:, None]
    return float(hits[:, 0].mean()), float(hits.any(axis=1).mean())


def told_search(name: str, found: tuple[float, float]) -> None:
    print(f"  search by title, {name}: first {found[0]:.3f}, among ten {found[1]:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--trained", action="store_true", help="train tokens too; takes long on a CPU")
    parser.add_argument("--epochs", type=int, default=2, help="of their training")
    parser.add_argument("--max-text-tokens", type=int, default=64)
    parser.add_argument(
        "--text-layers", type=int, nargs="*", default=[], help="also vectors of texts as so many layers read them"
    )
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    log = load_log(asked.run / "log")
    config = EnvironmentConfig(max_text_tokens=asked.max_text_tokens, item_token_epochs=asked.epochs, whitened_size=SIZE)
    llm = load_llm(config, asked.device)
    found = {}

    targets = log.targets(Part.VALIDATION)
    knn = ItemKNN.fit(log.training, log.catalog.n_items, DECAY, SHRINKAGE)

    def tell(name: str, vectors: Floats) -> None:
        content = ContentKNN(vectors, DECAY)
        value, error = next_item_ndcg(log, targets, content)
        rule = max(next_item_ndcg(log, targets, Rule(content, knn, weight))[0] for weight in WEIGHTS)
        found[name] = round(value, 4)
        print(f"{name:36} {value:.4f} +- {error:.4f}, in the rule {rule:.4f}", flush=True)

    for kind in ("mean", "trained") if asked.trained else ("mean",):
        with tempfile.TemporaryDirectory() as folder:
            made = make_item_tokens(llm, log, config.model_copy(update={"item_tokens": kind}), 0, Path(folder), Reporter())
        tokens = made.tokens.cpu().numpy()
        if kind == "mean":
            raw = tokens / float(made.space.tokens.scale) + made.space.tokens.centre.cpu().numpy()
            tell("mean tokens, as they are", unit_rows(np.where(made.texts.present[:, None], raw, 0)))
        tell(f"{kind} tokens, centred", centred(tokens, made.texts))
        tell(f"{kind} tokens, whitened", made.vectors)
        ids = llm.token_ids(log.catalog.table["title"].to_list(), config.max_text_tokens)
        present = np.array([len(one) > 0 for one in ids])
        queries = made.space.tokens.placed(pooled(ids, llm.embeddings.cpu()), present, 0).numpy()
        told_search(
            f"{kind} tokens, whitened", found_by_title(log, made.space.vectors(torch.from_numpy(queries), present), made.vectors)
        )
        centre = tokens[made.texts.shaping].mean(0)
        told_search(f"{kind} tokens, centred", found_by_title(log, unit_rows(queries - centre), centred(tokens, made.texts)))
        if asked.trained:
            some = np.random.default_rng(0).permutation(np.flatnonzero(made.texts.shaping))[:LOSS_ITEMS]
            ids = [[], *llm.token_ids(log.catalog.table["text"].to_list(), config.max_text_tokens)]
            own, texts = made.tokens[some], [ids[number] for number in some]
            order = np.random.default_rng(1).permutation(len(own))
            losses = {"its own": own, "a shuffled item's": own[order], "the mean token": own.mean(0).expand_as(own)}
            told = ", ".join(f"{name} {mean_loss(llm, those, texts):.3f}" for name, those in losses.items())
            print(f"  text loss of {LOSS_ITEMS} items after {kind} tokens: {told}", flush=True)
    for n_layers in asked.text_layers:
        with tempfile.TemporaryDirectory() as folder:
            read = config.model_copy(update={"text_layers": n_layers})
            made = make_item_tokens(llm, log, read, 0, Path(folder), Reporter())
        tell(f"texts after {n_layers} layers, whitened", made.vectors)
    texts = log.catalog.table["text"].to_list()
    words = tfidf_vectors(texts, log.cold_items, max(TFIDF_SIZES))
    # Titles among the texts, as cold items: words, their weights and directions come from the texts alone.
    n = len(texts)
    both = tfidf_vectors(
        [*texts, *log.catalog.table["title"].to_list()], np.array([*log.cold_items, *range(n + 1, 2 * n + 1)]), SIZE
    )
    told_search("TF-IDF, 256 directions", found_by_title(log, both[n + 1 :], both[: n + 1]))
    known = np.any(words != 0, axis=1)
    for size in TFIDF_SIZES:
        tell(f"TF-IDF, {size:,} directions", fewer_directions(words, size))
        whitened_words = whitened(words[:, :size], Texts(known, made.texts.shaping & known), size)
        tell(f"TF-IDF, {size:,} directions, whitened", whitened_words)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
