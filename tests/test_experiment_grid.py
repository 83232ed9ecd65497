"""An experiment file becomes ordinary recipes: which cells, under which names, compared with which, and what is refused."""

from pathlib import Path

import pytest

from learec.config import load_recipe
from learec.config.experiment import load_experiment
from learec.errors import ConfigError
from learec.experiment.grid import MAIN, plan_of
from learec.experiment.jobs import jobs_of
from learec.toml_text import toml_text

GRID = """
[experiment]
seeds = [0, 3]
encoders = ["sasrec", "gru4rec"]
objectives = ["supervised", "snqn"]

[columns.SM]
lea = ["state"]
placebos = ["shuffled", "text"]

[columns.LEA]
lea = ["augmented"]
agent = { augmented_weight = 0.5 }

[columns.gamma-0]
objectives = ["snqn"]
agent = { gamma = 0.0 }

[agent]
n_layers = 1
dropout = 0.3

[annotations]
n_augmented = 3

[evaluation]
compare = [["sasrec-snqn-LEA", "rule"]]

[logs.shop.data]
events = "shop.csv"

[logs.radio.data]
events = "radio.csv"
[logs.radio.annotations]
n_augmented = 5
[logs.radio.agent]
dropout = 0.1
[logs.radio.encoders.gru4rec]
dropout = 0.2
[logs.radio.evaluation]
mask_seen = false

[ablations.augmented]
setting = "annotations.n_augmented"
values = [3, 5]
encoders = ["sasrec"]
columns = ["LEA"]
"""


def planned(tmp_path: Path, text: str = GRID):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return plan_of(load_experiment(path))


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, text)
    return str(caught.value)


def test_a_log_has_the_base_every_column_set_and_every_placebo_of_every_encoder_and_objective(tmp_path):
    names = list(planned(tmp_path).runs[0].recipe.agents)
    # Without a critic, SM has no use: supervised has base and LEA.
    assert names[:7] == [
        "sasrec", "sasrec-LEA", "sasrec-snqn", "sasrec-snqn-SM", "sasrec-snqn-SM-shuffled", "sasrec-snqn-SM-text",
        "sasrec-snqn-LEA",
    ]  # fmt: skip
    assert names[7:9] == ["sasrec-snqn-gamma-0", "gru4rec"]
    assert len(names) == 2 * (2 + 6)


def test_an_agent_is_made_of_what_is_said_for_all_for_its_log_for_its_encoder_there_and_for_its_columns(tmp_path):
    shop, radio = planned(tmp_path).runs[:2]
    assert [(agent.dropout, agent.n_layers) for agent in (shop.recipe.agents["gru4rec"], radio.recipe.agents["sasrec"])] == [
        (0.3, 1),
        (0.1, 1),
    ]
    assert radio.recipe.agents["gru4rec-snqn-LEA"].dropout == 0.2
    assert radio.recipe.agents["gru4rec-snqn-LEA"].augmented_weight == 0.5
    assert shop.recipe.agents["sasrec-snqn-gamma-0"].gamma == 0
    placebo = shop.recipe.agents["sasrec-snqn-SM-text"]
    assert (placebo.lea, placebo.placebo, placebo.seeds) == (("state",), "text", (0, 3))
    assert (shop.recipe.evaluation.mask_seen, radio.recipe.evaluation.mask_seen) == (True, False)


def test_a_log_may_set_back_to_its_default_what_is_said_for_all(tmp_path):
    said = '[environment]\nsoft_targets = 0.5\nlora_rank = 16\n[annotations]\nkeep = "best"\nn_proposed = 50\n'
    own = "[logs.radio.environment]\nsoft_targets = 0.0\nlora_rank = 8\n[logs.shop.annotations]\nn_augmented = 20\n"
    shop, radio = planned(tmp_path, GRID.replace("[annotations]\n", said) + own).runs[:2]
    asked = [(run.recipe.environment.soft_targets, run.recipe.environment.lora_rank) for run in (shop, radio)]
    assert asked == [(0.5, 16), (0.0, 8)]
    assert (shop.recipe.annotations.n_augmented, shop.recipe.annotations.asked) == (20, 50)


def test_each_column_set_meets_its_base_and_its_placebos_and_each_objective_the_supervised_one(tmp_path):
    compared = planned(tmp_path).runs[0].recipe.evaluation.compare
    assert [pair for pair in compared if pair[0].startswith("sasrec")] == [
        ("sasrec-LEA", "sasrec"),
        ("sasrec-snqn", "sasrec"),
        ("sasrec-snqn-SM", "sasrec-snqn"),
        ("sasrec-snqn-SM", "sasrec-snqn-SM-shuffled"),
        ("sasrec-snqn-SM", "sasrec-snqn-SM-text"),
        ("sasrec-snqn-LEA", "sasrec-snqn"),
        ("sasrec-snqn-gamma-0", "sasrec-snqn"),
        ("sasrec-snqn-LEA", "rule"),
    ]


def test_an_ablation_has_a_recipe_for_every_value_that_is_not_the_logs_own(tmp_path):
    plan = planned(tmp_path)
    assert [run.name for run in plan.runs] == ["shop/main", "radio/main", "shop/augmented-5", "radio/augmented-3"]
    assert [(point.log, point.value, point.variant) for point in plan.points] == [
        ("shop", 3, MAIN), ("shop", 5, "augmented-5"), ("radio", 3, "augmented-3"), ("radio", 5, MAIN),
    ]  # fmt: skip
    assert list(plan.runs[2].recipe.agents) == ["sasrec-LEA", "sasrec-snqn-LEA"]
    assert plan.runs[2].recipe.annotations.n_augmented == 5
    assert plan.n_cells == 2 * (16 + 16 + 2 + 2)


def test_values_that_differ_in_their_sign_alone_have_folders_of_their_own(tmp_path):
    below = '[ablations.margin]\nsetting = "annotations.margin"\nvalues = [-2.0, 2.0]\n'
    runs = planned(tmp_path, GRID + below).runs
    assert {"margin--2.0", "margin-2.0"} <= {run.variant for run in runs}


def test_an_ablation_of_annotations_shares_the_environment_and_one_of_the_environment_only_the_log(tmp_path):
    text = GRID + '\n[ablations.users]\nsetting = "environment.users"\nvalues = [0.5]\nlogs = ["shop"]\n'
    jobs = jobs_of(planned(tmp_path, text))
    assert [job.stage for job in jobs.values() if job.run.name == "shop/augmented-5"][:2] == ["share", "annotate"]
    assert jobs["shop/augmented-5/share"].needs == ("shop/main/prepare", "shop/main/adapt")
    assert [job.stage for job in jobs.values() if job.run.name == "shop/users-0.5"][:3] == ["share", "adapt", "annotate"]
    assert jobs["shop/users-0.5/share"].needs == ("shop/main/prepare",)
    # Agents without columns need not wait for the language model.
    assert jobs["shop/main/sasrec-snqn/3"].needs == ("shop/main/prepare",)
    assert jobs["shop/main/sasrec-snqn-SM/3"].needs == ("shop/main/annotate",)


def test_a_recipe_of_the_grid_can_be_written_and_is_read_back_as_it_was(tmp_path):
    for run in planned(tmp_path).runs:
        path = tmp_path / "written.toml"
        path.write_text(toml_text(run.recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)))
        assert load_recipe(path) == run.recipe


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [0, 3]", "sedes = [0, 3]", "unknown key experiment.sedes; did you mean seeds?"),
        ("[logs.radio.agent]\ndropout", "[logs.radio.agent]\ndropuot", "unknown key dropuot; did you mean dropout?"),
        ("mask_seen = false", "mask_sen = false", "unknown key logs.radio.evaluation.mask_sen; did you mean mask_seen?"),
        ("[logs.shop.data]\nevents", "[logs.shop.data]\nevent", "logs.shop.data.events is missing"),
        ("n_layers = 1", 'encoder = "caser"', "sets encoder, which the grid decides"),
        ('"annotations.n_augmented"', '"annotations.n_augmentd"', "no such setting; did you mean n_augmented?"),
        ('"annotations.n_augmented"', '"agent.gamma"', "wanted a setting of environment or annotations"),
        ('columns = ["LEA"]', 'columns = ["LAE"]', "names 'LAE', which the grid lacks; did you mean LEA?"),
        ("seeds = [0, 3]", "seeds = [3, 3]", "names 3 twice"),
        ("[columns.SM]", "[columns.none]", "is the base, which is always part of the grid"),
        ("dropout = 0.2", "dropout = 2.0", "log radio, main: agents.gru4rec.dropout input should be less than 1"),
        ("gamma = 0.0", "gamma = 7.0", "agents.sasrec-snqn-gamma-0.gamma input should be less than 1"),
        ("values = [3, 5]", 'values = ["many"]', "log shop, augmented-many: annotations.n_augmented"),
        ('lea = ["state"]', "lea = []", "placebos replace the columns that lea names, and lea is empty"),
        ("[columns.gamma-0]", "[columns.SM-text]", "two cells of the grid are named sasrec-snqn-SM-text"),
        ('"rule"]]', '"rulle"]]', "which is no agent, floor or hybrid; did you mean rule?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_sentence_with_what_may_have_been_meant(tmp_path, old, new, said):
    assert old in GRID
    assert said in refusal(tmp_path, GRID.replace(old, new, 1))


def test_a_single_recipe_is_told_which_command_it_is_for(tmp_path):
    assert "run it with `learec run" in refusal(tmp_path, '[data]\nevents = "a.csv"\n[agents.sasrec]\n')
