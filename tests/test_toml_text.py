"""TOML text: what is written is read back as it was, and looks like what a person would write."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learec.toml_text import WIDTH, toml_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # lone surrogates are no Unicode text, and no TOML
PLAIN = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(TEXT, VALUES, max_size=6))
def test_what_is_written_is_read_back_as_it_was(settings):
    read = tomllib.loads(toml_text(settings))
    assert read == settings
    assert repr(sorted(read.items(), key=repr)) == repr(sorted(settings.items(), key=repr))  # 1, 1.0 and True are not the same


def test_a_table_is_a_section_a_table_of_tables_is_one_section_each_and_deeper_ones_stay_inline():
    settings = {
        "name": "shop",
        "data": {"events": "a.csv", "columns": {"user": "who", "my item": "what"}, "rewards": {}},
        "agents": {"one": {}, "a b": {"seeds": [0, 1], "tied": True, "learning_rate": 1e-05}},
    }
    assert toml_text(settings) == (
        'name = "shop"\n'
        "\n[data]\n"
        'events = "a.csv"\n'
        'columns = { user = "who", "my item" = "what" }\n'
        "rewards = {}\n"
        "\n[agents.one]\n"
        '\n[agents."a b"]\n'
        "seeds = [0, 1]\n"
        "tied = true\n"
        "learning_rate = 1e-05\n"
    )


def test_a_plain_setting_never_lands_in_the_section_before_it():
    assert tomllib.loads(toml_text({"data": {"events": "a"}, "seed": 3})) == {"data": {"events": "a"}, "seed": 3}


def test_a_long_list_has_a_line_for_each_of_its_values():
    pairs = [[f"agent-{number}", "popularity"] for number in range(9)]
    text = toml_text({"compare": pairs})
    assert max(map(len, text.splitlines())) < WIDTH
    assert tomllib.loads(text) == {"compare": pairs}


def test_what_toml_does_not_have_is_refused():
    with pytest.raises(TypeError, match="TOML has no NoneType"):
        toml_text({"time": None})
