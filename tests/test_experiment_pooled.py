"""What a column set is worth over all agents of a grid: means by hand, shared seeds, and nothing asked of one agent alone."""

import numpy as np
import polars as pl
import pytest

from learec.config.experiment import load_experiment
from learec.evaluation.metrics import ndcg
from learec.evaluation.tables import Tables, Targets
from learec.experiment.grid import plan_of
from learec.experiment.pooled import pooled_comparisons

EXPERIMENT = """
[experiment]
seeds = [0, 1, 2]
encoders = ["sasrec", "gru4rec"]
objectives = ["supervised", "snqn"]
[columns.LEA]
lea = ["augmented"]
placebos = ["random"]
[columns.one]
lea = ["state"]
encoders = ["sasrec"]
[evaluation]
resamples = 200
permutations = 999
[logs.shop.data]
events = "shop.csv"
"""
N = 400
AGENTS = [f"{encoder}{objective}" for encoder in ("sasrec", "gru4rec") for objective in ("", "-snqn")]


@pytest.fixture
def planned(tmp_path):
    (tmp_path / "shop.toml").write_text(EXPERIMENT)
    return plan_of(load_experiment(tmp_path / "shop.toml")).runs[0]


def ranks_with(rng, lift):
    """Ranks under every agent; those with LEA are `lift` places better. The last agent lacks seed 2, and one part is no test."""
    columns = {}
    for name in AGENTS:
        for seed in range(3 if name != AGENTS[-1] else 2):
            base = rng.integers(1, 21, N)
            columns[f"{name}/{seed}"] = base
            columns[f"{name}-LEA/{seed}"] = np.maximum(rng.permutation(base) - lift, 1)
            columns[f"{name}-LEA-random/{seed}"] = rng.permutation(base)
    columns["sasrec-snqn-one/0"] = columns["sasrec-snqn/0"]
    about = {"part": ["validation"] * 10 + ["test"] * (N - 10), "session": np.arange(N), "event": ["view"] * N}
    return pl.DataFrame({**about, **columns})


def test_a_run_is_the_mean_of_one_seeds_agents_each_against_its_own_base(planned, rng):
    ranks = ranks_with(rng, 4)
    found = {(one["new"], one["base"]): one for one in pooled_comparisons(planned, ranks)}
    assert set(found) == {
        ("LEA (4 agents)", "none"), ("LEA (4 agents)", "LEA (random)"), ("snqn (2 agents)", "supervised"),
    }  # fmt: skip
    test = ranks.filter(part="test")
    means = {
        columns: np.mean([ndcg(test[f"{name}{columns}/{seed}"].to_numpy(), 10) for name in AGENTS for seed in range(2)])
        for columns in ("", "-LEA")
    }
    against = found["LEA (4 agents)", "none"]
    assert against["difference"] == pytest.approx(means["-LEA"] - means[""])
    assert (against["seeds"], against["base_seeds"], against["covers_seeds"], against["n"]) == (2, 2, True, N - 10)
    assert against["low"] < against["difference"] < against["high"]
    assert 0.001 < against["p"] < 0.1, "two seeds leave much open, however large the gain"
    assert found["snqn (2 agents)", "supervised"]["p"] > 0.2
    three = pooled_comparisons(planned, ranks.drop([column for column in ranks.columns if column.startswith(AGENTS[-1])]))
    assert three[0]["p"] < 0.02


def test_a_small_gain_that_no_agent_shows_is_shown_by_all_of_them(planned, rng):
    ranks = ranks_with(rng, 1)
    together = pooled_comparisons(planned, ranks)[0]
    test = ranks.filter(part="test")
    targets = Targets(test["session"].to_numpy(), test["event"].to_numpy(), np.ones(len(test), np.float32), {})
    pairs = [(f"{name}-LEA", name) for name in AGENTS]
    main = {row: [ndcg(test[f"{row}/{seed}"].to_numpy(), 10) for seed in range(2)] for pair in pairs for row in pair}
    alone = Tables(planned.recipe.evaluation, 0, targets).comparisons(pairs, main, dict.fromkeys(main, True))
    assert together["p"] < min(one["p_adjusted"] for one in alone)


def test_agents_that_did_not_finish_have_no_part_and_without_a_shared_seed_nothing_is_asked(planned, rng):
    ranks = ranks_with(rng, 4)
    without = pooled_comparisons(planned, ranks.drop([column for column in ranks.columns if column.startswith("gru4rec-snqn")]))
    assert [(one["new"], one["base"], one["seeds"]) for one in without] == [
        ("LEA (3 agents)", "none", 3), ("LEA (3 agents)", "LEA (random)", 3),
    ]  # fmt: skip
    behind = [column for column in ranks.columns if column.startswith("gru4rec-snqn") and not column.endswith("/0")]
    first = pooled_comparisons(planned, ranks.drop(behind))[0]
    assert (first["new"], first["seeds"]) == ("LEA (3 agents)", 3), "one that lags behind does not leave all of them one seed"
    own_seed = {
        f"{name}{columns}/0": f"{name}{columns}/{number}" for number, name in enumerate(AGENTS) for columns in ("", "-LEA")
    }
    assert pooled_comparisons(planned, ranks.select("part", "session", "event", *own_seed).rename(own_seed)) == []
