"""Every recipe in the house can be read: the ones in recipes/, experiments among them, and the one of `learec demo`."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import learec
from learec.cli import app
from learec.config import load_recipe
from learec.config.experiment import load_experiment
from learec.experiment.grid import MAIN, plan_of
from learec.experiment.jobs import asked_for, jobs_of

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


def test_every_pattern_of_cells_that_documents_print_names_some():
    """Documents say --only of recipes/proof.toml, and how many cells that and the paper's grid have."""
    plan = plan_of(load_experiment(ROOT / "recipes/proof.toml"))
    jobs, told = jobs_of(plan), "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    patterns = re.findall(r"--only '([^']+)'", told)
    assert len(patterns) > 5
    for pattern in patterns:
        assert any(job.asked for job in asked_for(jobs, [pattern]).values())
    papers = plan_of(load_experiment(ROOT / "recipes/paper.toml"))
    assert f"`recipes/proof.toml`'s {plan.n_cells:,} cells" in told
    assert f"`recipes/paper.toml` ({papers.n_cells:,} cells)" in told


def test_the_cells_that_are_asked_for_are_said_before_any_is_made():
    arguments = ["experiment", str(ROOT / "recipes/proof.toml"), "--dry-run", "--only", "beauty/main/sasrec-evidence*/0"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "asked for: 3 cells, beauty/main/sasrec-evidence/0, beauty/main/sasrec-evidence-random/0," in " ".join(
        done.output.split()
    )
