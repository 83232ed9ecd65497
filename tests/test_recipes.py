"""Every recipe in the house can be read: the ones in recipes/ and the one of `learec demo`."""

from pathlib import Path

import pytest

import learec
from learec.config import load_recipe

ROOT = Path(__file__).parents[1]
RECIPES = [*sorted((ROOT / "recipes").glob("*.toml")), Path(learec.__file__).with_name("demo.toml")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_the_house_loads_and_is_named_like_its_file(path):
    assert load_recipe(path).name == path.stem


def test_there_are_recipes():
    assert {"industrial", "slice", "demo"} <= {path.stem for path in RECIPES}
