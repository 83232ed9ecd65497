"""[tune.NAME] in a recipe: what may be searched, what is refused and in which words, and that no other stage reads it."""

import pytest

from learec.config import AgentConfig, TuneConfig, load_recipe
from learec.errors import ConfigError

DATA = '[data]\nevents = "events.csv"\nitems = "items.csv"\n'
SMALL = DATA + "[agents.sasrec]\n[tune.sasrec]\n"


@pytest.fixture
def load(tmp_path):
    """Writes a recipe and reads it back."""

    def write_and_load(text):
        path = tmp_path / "small.toml"
        path.write_text(text)
        return load_recipe(path)

    return write_and_load


REFUSED = {
    "unknown field": ("dropuot = [0.2]", "unknown key tune.sasrec.dropuot; did you mean dropout?"),
    "unknown setting": ("dropout = [0.2]\ntrails = 9", "unknown key tune.sasrec.trails; did you mean trials?"),
    "seeds are no search": ("preset = ['strong']", "unknown key tune.sasrec.preset; known: advantage_clip, augmented_weight,"),
    "unknown key of a range": (
        "dropout = { low = 0.1, hihg = 0.2 }",
        "unknown key tune.sasrec.dropout.hihg; did you mean high?",
    ),
    "one value": (
        "dropout = 0.3",
        "tune.sasrec.dropout = 0.3: wanted a list of choices or a range such as { low = 1, high = 3 };",
    ),
    "no choice": ("dropout = []", "tune.sasrec.dropout.choices = []: tuple should have at least 1 item"),
    "one choice twice": (
        "dropout = [0.2, 0.5, 0.2]",
        "tune.sasrec.dropout = [0.2, 0.5, 0.2]: 0.2 stands twice among the choices;",
    ),
    "half a range": ("dropout = { low = 0.1 }", "tune.sasrec.dropout = a range needs low and high; change it in the recipe"),
    "an empty range": ("n_layers = { low = 2, high = 2 }", "tune.sasrec.n_layers = low 2 is not below high 2; change it"),
    "a range backwards": ("gamma = { low = 0.9, high = 0.1 }", "tune.sasrec.gamma = low 0.9 is not below high 0.1; change it"),
    "log from 0": (
        "gamma = { low = 0, high = 0.9, log = true }",
        "tune.sasrec.gamma = log = true needs low above 0, and it is 0;",
    ),
    "text in a range": ("gamma = { low = 'a', high = 0.9 }", "tune.sasrec.gamma.low = 'a': input should be a valid number;"),
    "true in a range": ("gamma = { low = true, high = 2 }", "tune.sasrec.gamma.low = True: input should be a valid number;"),
    "both": ("gamma = { low = 0, choices = [0.1] }", "tune.sasrec.gamma = holds choices and a range; wanted one of them;"),
    "above the limit": (
        "dropout = { low = 0.1, high = 1.5 }",
        "tune.sasrec.dropout holds 1.5, which the agent cannot have: input should be less than 1; change it in the recipe",
    ),
    "below the limit": (
        "n_layers = { low = 0, high = 2 }",
        "tune.sasrec.n_layers holds 0, which the agent cannot have: input should be greater than or equal to 1; change it",
    ),
    "a choice outside": (
        "encoder = ['sasrec', 'bert']",
        "tune.sasrec.encoder holds 'bert', which the agent cannot have: input should be 'sasrec', 'gru4rec',",
    ),
    "half a layer": (
        "n_layers = { low = 1, high = 2.5 }",
        "tune.sasrec.n_layers holds 2.5, which the agent cannot have: input should be a valid integer, got a number with a",
    ),
    "a choice that the agent's other settings forbid": (
        "n_heads = [1, 3]",
        "tune.sasrec.n_heads holds 3, which the agent cannot have: hidden_size 64 is not a multiple of n_heads 3; change it",
    ),
    "a range of words": (
        "encoder = { low = 1, high = 2 }",
        "tune.sasrec.encoder holds 1, which the agent cannot have: input should be 'sasrec',",
    ),
    "a range of yes and no": (
        "tied = { low = 0, high = 1 }",
        "tune.sasrec.tied is a range, and tied is true or false; wanted a list of choices; change it in the recipe",
    ),
    "nothing sought": ("trials = 3", "tune.sasrec = no setting is sought; add one of the agent's, such as dropout = [0.2, 0.5];"),
    "no trial": ("trials = 0\ndropout = [0.2]", "tune.sasrec.trials = 0: input should be greater than or equal to 1;"),
    "no such agent": (
        "dropout = [0.2]\n[tune.sasrek]\ndropout = [0.2]",
        "[tune.sasrek] is for an agent that is not there; did you mean sasrec?; change it in the recipe",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_search_that_cannot_be_is_refused_in_one_sentence(load, tmp_path, text, sentence):
    with pytest.raises(ConfigError) as refused:
        load(SMALL + text)
    assert str(refused.value).startswith(f"{tmp_path / 'small.toml'}: {sentence}")
    assert "\n" not in str(refused.value)


def test_a_search_is_a_list_of_choices_or_a_range_beside_the_settings_of_the_search(load):
    text = "trials = 7\nseeds = [3]\ndropout = [0, 0.5]\nn_layers = { low = 1, high = 3 }\nlea = [[], ['augmented']]\n"
    tune = load(SMALL + text).tune["sasrec"]
    assert (tune.trials, tune.seeds, tune.startup_trials) == (7, (3,), 10)
    assert {field: search.values for field, search in tune.search.items()} == {
        "dropout": (0, 0.5), "n_layers": (1, 3), "lea": ([], ["augmented"]),
    }  # fmt: skip


def test_a_search_is_written_as_it_was_read():
    written = {
        "trials": 7, "dropout": [0, 0.5], "n_layers": {"low": 1, "high": 3}, "gamma": {"low": 0.1, "high": 0.9, "log": True},
    }  # fmt: skip
    tune = TuneConfig.model_validate(written)
    assert tune.model_dump(mode="json", exclude_unset=True) == written
    assert TuneConfig.model_validate(tune.model_dump(mode="json")) == tune


def test_every_setting_of_an_agent_but_preset_and_seeds_may_be_searched(load):
    on = {"placebo": "random", "placebo_columns": ("reward",), "cosine_scale": 8.0, "label_temperature": 1.0}
    for field in AgentConfig.model_fields.keys() - {"preset", "seeds"}:
        value = on.get(field, getattr(AgentConfig(objective="snqn", lea=("reward",)), field))
        shown = str(list(value) if isinstance(value, tuple) else value).replace("True", "true").replace("False", "false")
        shown = f"'{value}'" if isinstance(value, str) else shown
        base = DATA + "[agents.sasrec]\nobjective = 'snqn'\nlea = ['reward']\nplacebo = 'shuffled'\n[tune.sasrec]\n"
        assert load(base + f"{field} = [{shown}]").tune["sasrec"].search.keys() == {field}


def test_values_are_checked_with_the_agents_own_settings(load):
    text = DATA + "[agents.sasrec]\nhidden_size = 66\n[tune.sasrec]\nn_heads = [1, 3]"
    assert load(text).tune["sasrec"].search["n_heads"].values == (1, 3)


def test_an_agent_with_the_name_of_a_setting_gets_the_same_answer(load):
    for text in ("[agents.lea]\ngama = 0.9", "[agents.lea]\n[tune.lea]\ngama = [0.9]"):
        with pytest.raises(ConfigError, match="lea.gama; did you mean gamma"):
            load(DATA + text)


def test_an_agent_with_other_settings_is_checked_like_one_of_a_recipe():
    agent = AgentConfig(hidden_size=32, dropout=0.1)
    assert agent.replaced({"dropout": 0.3, "n_heads": 2}) == AgentConfig(hidden_size=32, dropout=0.3, n_heads=2)
    with pytest.raises(ConfigError, match="^hidden_size 32 is not a multiple of n_heads 3$"):
        agent.replaced({"n_heads": 3})


def test_a_preset_under_an_agent_stays_under_it_when_a_setting_is_replaced():
    replaced = AgentConfig(preset="published").replaced({"dropout": 0.3})
    assert (replaced.dropout, replaced.max_length, replaced.double_q) == (0.3, 10, "copies")
