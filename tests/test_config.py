"""Recipes: what is refused and in which words, how [agent] is laid under the agents, seeds."""

import pytest

from learec.config import FLOORS, AgentConfig, Recipe, derived_seed, load_recipe
from learec.errors import ConfigError

DATA = '[data]\nevents = "events.csv"\nitems = "items.csv"\n'
SMALL = DATA + "[agents.sasrec]\n"


@pytest.fixture
def load(tmp_path):
    """Writes a recipe and reads it back."""

    def write_and_load(text: str | bytes) -> Recipe:
        path = tmp_path / "small.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_recipe(path)

    return write_and_load


UNKNOWN = {
    "at the top": ("sed = 1\n" + SMALL, "unknown key sed; did you mean seed?"),
    "a table": (SMALL + "[enviroment]\n", "unknown key enviroment; did you mean environment?"),
    "in a table": (SMALL + "[environment]\nlora_rnk = 2\n", "unknown key environment.lora_rnk; did you mean lora_rank?"),
    "two tables deep": (DATA + 'columns = { usr = "u" }\n[agents.a]\n', "unknown key data.columns.usr; did you mean user?"),
    "in an optional table": (SMALL + "[simulate]\nlistners = 9\n", "unknown key simulate.listners; did you mean listeners?"),
    "of an agent": (DATA + "[agents.a]\ngama = 0.9\n", "unknown key agents.a.gama; did you mean gamma?"),
    "of all agents": (SMALL + "[agent]\ngama = 0.9\n", "unknown key agent.gama; did you mean gamma?"),
    "like no other": (
        DATA + 'columns = { zzz = "u" }\n[agents.a]\n',
        "unknown key data.columns.zzz; known: event, item, rating, session, split, time, user",
    ),
}
WRONG = {
    "too large": (SMALL + "[environment]\nusers = 1.5\n", "environment.users = 1.5: input should be less than or equal to 1;"),
    "too small": (SMALL + "[environment]\nepochs = 0\n", "environment.epochs = 0: input should be greater than or equal to 1;"),
    "too small, shared": (SMALL + "[agent]\nepochs = 0\n", "agent.epochs = 0: input should be greater than or equal to 1;"),
    "too small, in a list": (SMALL + "[evaluation]\ncutoffs = [5, 0]\n", "evaluation.cutoffs.1 = 0: input should be"),
    "not finite": (SMALL + "[agent]\nlearning_rate = inf\n", "agent.learning_rate = inf: input should be a finite number;"),
    "not finite, in a table": (
        DATA + "rewards = { view = nan }\n[agents.a]\n",
        "data.rewards.view = nan: input should be a finite",
    ),
    "wrong type": (
        SMALL + '[environment]\nlora_rank = "many"\n',
        "environment.lora_rank = 'many': input should be a valid integer",
    ),
    "no table": ("agent = 3\n" + SMALL, "agent = 3: wanted a table [agent]"),
    "not in the list": (
        SMALL + '[agent]\nencoder = "bert"\n',
        "agent.encoder = 'bert': input should be 'sasrec', 'gru4rec', 'caser' or 'nextitnet';",
    ),
    "missing": ('[data]\nitems = "items.csv"\n[agents.a]\n', "data.events is missing; add it to the recipe"),
    "missing table": (DATA, "agents is missing; add it to the recipe"),
    "no agent at all": ("agents = {}\n" + DATA, "agents = dictionary should have at least 1 item"),
    "a name that leaves the folder": ('name = "../else"\n' + SMALL, "name = '../else': string should match"),
    "an agent's too": (DATA + '[agents."a/b"]\n', "agents.a/b = 'a/b': string should match"),
    "an agent like a floor": (DATA + "[agents.rule]\n", "agent 'rule' has the name of a floor; choose another name"),
    "an agent like another floor": (DATA + "[agents.v_sknn]\n", "agent 'v_sknn' has the name of a floor; choose another name"),
    "no neighbours": (SMALL + "[evaluation]\nsknn_neighbours = 0\n", "evaluation.sknn_neighbours = 0: input should be greater"),
    "no regularisation": (
        SMALL + "[evaluation]\nease_regularisation = 0\n",
        "evaluation.ease_regularisation = 0: input should be",
    ),
    "heads": (
        SMALL + "[agent]\nhidden_size = 10\nn_heads = 3\n",
        "agents.sasrec = hidden_size 10 is not a multiple of n_heads 3;",
    ),
    "parts without a critic": (
        SMALL + '[agent]\nlea = ["state"]\n',
        "agents.sasrec = lea state and reward reach the critic only; with objective supervised use augmented, items and content;",
    ),
    "the best of no more": (
        SMALL + '[annotations]\nkeep = "best"\nn_augmented = 12\n',
        "annotations.keep best takes 12 of 12 proposals, which is all of them; raise n_proposed",
    ),
    "compared with itself": (
        SMALL + '[evaluation]\ncompare = [["sasrec", "sasrec"]]\n',
        "evaluation.compare names sasrec alone, and every pair counts in Holm's correction; drop it",
    ),
    "compared twice": (
        SMALL + '[evaluation]\ncompare = [["sasrec", "rule"], ["rule", "sasrec"]]\n',
        "evaluation.compare names rule and sasrec twice, and every pair counts in Holm's correction; drop it",
    ),
    "rewards by words of proposals by the model": (
        DATA + '[agents.a]\nobjective = "snqn"\nlea = ["reward", "augmented"]\nplacebo = "text"\nplacebo_columns = ["reward"]\n',
        "agents.a = placebo text cannot replace reward without augmented: nobody but the language model has judged its",
    ),
    "columns that nobody makes": (
        DATA + '[annotations]\nsteps = false\n[agents.a]\nlea = ["content", "augmented"]\n',
        "agent 'a' reads lea augmented, and annotations.steps = false makes item vectors alone; drop that, or those columns",
    ),
    "a search for such columns": (
        SMALL + '[annotations]\nsteps = false\n[tune.sasrec]\nlea = [["items"], ["augmented"]]\n',
        "tune.sasrec.lea seeks columns of steps, and annotations.steps = false makes item vectors alone; drop that, or those",
    ),
    "more words than a text has": (
        SMALL + "[environment]\nmax_text_tokens = 8\nhistory_text_tokens = 9\n",
        "environment = history_text_tokens 9 is more than the 8 that texts are cut to; raise max_text_tokens",
    ),
    "a hybrid of nobody": (
        SMALL + '[evaluation]\nhybrids = ["sasrek"]\n',
        "evaluation.hybrids names 'sasrek', which is no agent; did you mean sasrec?",
    ),
    "a hybrid twice": (
        SMALL + '[evaluation]\nhybrids = ["sasrec", "sasrec"]\n',
        "evaluation.hybrids ['sasrec', 'sasrec'] names one agent twice",
    ),
    "a hybrid of one that has the evidence within": (
        DATA + '[agents.told]\nitem_knn = true\n[evaluation]\nhybrids = ["told"]\n',
        "evaluation.hybrids names 'told', which reads texts or item-kNN already; drop it there",
    ),
    "a search for such a one": (
        SMALL + '[evaluation]\nhybrids = ["sasrec"]\n[tune.sasrec]\nlea = [[], ["content"]]\n',
        "tune.sasrec.lea seeks an agent that evaluation.hybrids could not name; drop it there",
    ),
    "an agent named as a hybrid": (
        SMALL + '[agents.sasrec-hybrid]\n[evaluation]\nhybrids = ["sasrec"]\n',
        "agent 'sasrec-hybrid' has the name of a hybrid",
    ),
    "compared but not there": (
        SMALL + '[evaluation]\ncompare = [["sasrek", "popularity"]]\n',
        "evaluation.compare names 'sasrek', which is no agent, floor or hybrid; did you mean sasrec?",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(load, tmp_path, text, sentence):
    with pytest.raises(ConfigError) as refused:
        load(text)
    assert str(refused.value) == f"{tmp_path / 'small.toml'}: {sentence}"


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_refused_with_the_place_and_what_was_seen(load, tmp_path, text, sentence):
    with pytest.raises(ConfigError) as refused:
        load(text)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'small.toml'}: {sentence}")
    assert "\n" not in message
    assert "recipe" in message or "did you mean" in message  # the next step


def test_what_stands_in_agent_is_shared_by_all_agents_and_an_agent_may_differ(load):
    text = DATA + "[agent]\nepochs = 7\nhidden_size = 32\n[agents.one]\n[agents.two]\nepochs = 9\n"
    agents = load(text).agents
    assert (agents["one"].epochs, agents["one"].hidden_size) == (7, 32)
    assert (agents["two"].epochs, agents["two"].hidden_size) == (9, 32)
    assert agents["one"].gamma == AgentConfig().gamma


def test_an_agents_own_value_is_blamed_on_the_agent_and_not_on_what_all_share(load):
    with pytest.raises(ConfigError, match=r"agents\.one\.epochs = -1"):
        load(DATA + "[agent]\nepochs = 7\n[agents.one]\nepochs = -1\n")


def test_supervised_agents_may_use_augmented_actions_and_snqn_everything(load):
    agents = load(
        DATA + '[agents.a]\nlea = ["augmented"]\n[agents.b]\nobjective = "snqn"\nlea = ["state", "reward", "augmented"]\n'
    ).agents
    assert agents["a"].lea == ("augmented",)
    assert agents["b"].lea == ("state", "reward", "augmented")


def test_agents_may_be_compared_with_every_floor(load):
    pairs = ", ".join(f'["sasrec", "{floor}"]' for floor in sorted(FLOORS))
    assert len(load(SMALL + f"[evaluation]\ncompare = [{pairs}]\n").evaluation.compare) == len(FLOORS)


def test_a_recipe_without_a_name_is_called_like_its_file(load):
    assert load(SMALL).name == "small"
    assert load('name = "my run (2)"\n' + SMALL).name == "my run (2)"


def test_a_recipe_cannot_be_changed_once_it_is_read(load):
    recipe = load(SMALL)
    with pytest.raises(ValueError, match="frozen"):
        recipe.environment.epochs = 1


@pytest.mark.parametrize("text", ["name = \n", b"name = '\xff'\n"], ids=["syntax", "not UTF-8"])
def test_a_file_that_is_not_toml_is_refused_with_the_place(load, text):
    with pytest.raises(ConfigError, match=r"small\.toml: not a TOML file \(.+\); mend that place and run again"):
        load(text)


def test_a_recipe_that_is_not_there_or_is_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such recipe; pass the path of a \.toml file"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"is a folder; pass the path of a \.toml file"):
        load_recipe(tmp_path)


def test_a_derived_seed_is_the_same_on_every_machine():
    assert derived_seed("split", 0) == 8_638_825_306_148_176_065


def test_derived_seeds_of_other_purposes_and_other_seeds_differ_and_fit_into_63_bits():
    seeds = [derived_seed(purpose, seed) for purpose in ("split", "init", "batches") for seed in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_preset_is_laid_under_what_the_recipe_names(tmp_path):
    agents = '[agent]\npreset = "published"\ndropout = 0.3\n[agents.a]\n[agents.b]\npreset = "strong"\n'
    (tmp_path / "r.toml").write_text(DATA + agents)
    a, b = (load_recipe(tmp_path / "r.toml").agents[name] for name in "ab")
    assert (a.tied, a.double_q, a.max_length, a.switch_after, a.q_weight, a.dropout) == (False, "copies", 10, 15_000, 1.0, 0.3)
    assert (b.tied, b.double_q, b.max_length, b.dropout) == (True, "target", 50, 0.3)
    assert AgentConfig(preset="published").learning_rate == 0.005


def test_an_unknown_preset_is_refused(tmp_path):
    (tmp_path / "r.toml").write_text(DATA + '[agents.a]\npreset = "best"\n')
    with pytest.raises(ConfigError, match="agents.a.preset = 'best': input should be 'strong' or 'published'"):
        load_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ('user = "x", item = "x"', "names 'x' as user and as item; they are two columns"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(tmp_path, columns, sentence):
    (tmp_path / "r.toml").write_text(f'[data]\nevents = "log.csv"\ncolumns = {{ {columns} }}\n[agents.a]\n')
    with pytest.raises(ConfigError) as refused:
        load_recipe(tmp_path / "r.toml")
    assert sentence in str(refused.value)


def test_an_agent_is_a_placebo_of_the_one_that_it_differs_from_by_nothing_else():
    real = AgentConfig(objective="snqn", lea=("augmented", "reward"), seeds=(0, 1))
    noise = AgentConfig(objective="snqn", lea=("augmented", "reward"), placebo="random", placebo_columns=("reward",))
    assert noise.is_placebo_of(real)
    assert not real.is_placebo_of(real) and not noise.is_placebo_of(noise) and not real.is_placebo_of(noise)
    assert noise.is_placebo_of(real.replaced({"lea": ("reward", "augmented")})), "in any order"
    others = ({"lea": ("augmented",)}, {"encoder": "gru4rec"}, {"gamma": 0.0}, {"lea": ()})
    assert not any(noise.is_placebo_of(real.replaced(changed)) for changed in others)
