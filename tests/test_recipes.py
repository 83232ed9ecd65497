"""Every recipe in the house can be read: the ones in recipes/, experiments among them, and the one of `learec demo`."""

import tomllib
from pathlib import Path

import pytest

import learec
from learec.config import load_recipe
from learec.config.experiment import load_experiment
from learec.experiment.grid import MAIN, plan_of

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "recipes").glob("*.toml")), Path(learec.__file__).with_name("demo.toml")]
EXPERIMENTS = [path for path in FILES if "logs" in tomllib.loads(path.read_text(encoding="utf-8"))]
RECIPES = [path for path in FILES if path not in EXPERIMENTS]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_the_house_loads_and_is_named_like_its_file(path):
    assert load_recipe(path).name == path.stem


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_of_the_house_loads_and_every_cell_of_it_is_an_agent(path):
    experiment = load_experiment(path)
    plan = plan_of(experiment)
    assert experiment.name == path.stem
    assert all(run.recipe.agents.keys() == run.cells.keys() for run in plan.runs)


def test_there_are_recipes():
    assert {"industrial", "slice", "demo"} <= {path.stem for path in RECIPES}
    assert "paper" in {path.stem for path in EXPERIMENTS}


def test_the_papers_grid_has_its_columns_over_two_objectives_and_four_encoders_and_its_three_ablations():
    plan = plan_of(load_experiment(ROOT / "recipes/paper.toml"))
    main = plan.runs[0]
    assert {
        f"{encoder}-{objective}{columns}"
        for encoder in ("sasrec", "gru4rec", "caser", "nextitnet")
        for objective in ("snqn", "sa2c")
        for columns in ("", "-SM", "-RM", "-LEA")
    } <= main.cells.keys()
    # An encoder: supervised has base, LEA and its 2 placebos; both others base, 4 column sets with 2 placebos each, and gamma-0.
    assert (main.variant, len(main.cells)) == (MAIN, 4 * (4 + 2 * (1 + 4 * 3 + 1)))
    assert main.recipe.evaluation.cutoffs == (5, 10, 20)
    assert {point.setting for point in plan.points} == {"annotations.n_augmented", "environment.users", "environment.llm"}
