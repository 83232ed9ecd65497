"""The study of tune: what it finds, what it prunes, and that a stopped study ends like one that was not."""

import time
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from rich.console import Console

from learec.agents import tune as tuned
from learec.agents.study import JOURNAL, Result, Sought, best_of, open_study
from learec.agents.tune import SCRATCH, TABLE, Material, tune
from learec.annotations.table import Annotations
from learec.config import AgentConfig, TuneConfig
from learec.data.log import Part
from learec.errors import ArtifactError, DataError, LearecError
from learec.evaluation.evaluate import mean_metrics, measured_ranks
from learec.progress import Reporter

SMALL = {"hidden_size": 8, "n_layers": 1, "batch_size": 32, "max_length": 10, "epochs": 4}
SPACE = {"dropout": [0, 0.5], "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}


class StoppedHereError(Exception):
    """Stands for a kill: nothing after it runs."""


def sought(config=None, **search):
    settings = {"trials": 9, "startup_trials": 3, "warmup_epochs": 1, **(search or SPACE)}
    return Sought("sasrec", AgentConfig(**{**SMALL, **(config or {})}), TuneConfig.model_validate(settings), 0, True)


def ranking(log):
    return lambda agent: mean_metrics(measured_ranks(agent, log, Part.VALIDATION, True))


def by_setting(field, worth=float):
    """A validation that is told by one setting of the agent, the same in all epochs."""
    return lambda agent: {"NDCG@10": worth(getattr(agent.config, field))}


def by_trial(worths):
    """A validation that is the same in all epochs of a trial; the learning rate tells one trial from another."""
    left, known = iter(worths), {}

    def validate(agent):
        rate = agent.config.learning_rate
        known[rate] = known[rate] if rate in known else next(left)
        return {"NDCG@10": known[rate]}

    return validate


def outcomes(results: list[Result]) -> list[Result]:
    """Results without what a clock told."""
    return [replace(one, seconds=0.0) for one in results]


def run(log, folder, asked, validate=None, minutes=None, reporter=None, annotations=None):
    material = Material(log, annotations, validate or ranking(log))
    return tune(asked, material, folder, minutes=minutes, reporter=reporter or Reporter(Console(quiet=True)))


@pytest.fixture(scope="module")
def whole(small_log, tmp_path_factory):
    """A study that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "tuning"
    return folder, run(small_log, folder, sought())


def test_of_two_obvious_settings_the_better_one_wins(small_log, tmp_path):
    results = run(small_log, tmp_path / "t", sought(learning_rate=[1e-7, 0.03]))
    assert {one.settings["learning_rate"] for one in results} == {1e-7, 0.03}
    assert best_of(results).settings == {"learning_rate": 0.03}


def test_a_trial_is_worth_its_best_epoch_and_of_several_seeds_their_mean(small_log, tmp_path):
    epochs = iter([0.0, 0.2, 0.6, 0.1, 0.0, *[0.0, 0.1, 0.1, 0.3, 0.2]])
    asked = sought(dropout=[0.5], trials=1, seeds=[4, 7])
    (only,) = run(small_log, tmp_path / "t", asked, lambda agent: {"NDCG@10": next(epochs)})
    assert only.validation == pytest.approx((0.6 + 0.3) / 2)
    assert only.epochs_done == 4


def test_settings_that_came_later_can_be_sought_at_their_defaults():
    space = sought(
        item_knn=[True, False], evidence_learning_rate={"low": 1e-3, "high": 1e-2}, lea=[[], ["augmented"]], dropout=[0.1, 0.2]
    ).distributions
    assert space["item_knn"].choices == ("true", "false")
    assert (space["evidence_learning_rate"].low, space["evidence_learning_rate"].high) == (1e-3, 1e-2)
    assert space["lea"].choices == ("[]", '["augmented"]')


def test_by_default_a_trial_trains_the_agents_first_seed_alone():
    assert sought({"seeds": (3, 5)}).seeds == (3,)


@pytest.mark.parametrize("stops", [[1], [4, 4], [12], [17, 2, 1, 7]], ids=str)
def test_a_study_stopped_within_trials_ends_like_one_that_was_not(small_log, tmp_path, monkeypatch, whole, stops):
    """Stops count epochs since the last one: in the first trial, in a drawn one, in one proposed from others."""
    validate = ranking(small_log)
    for stop in stops:
        calls = 0

        def stopping(agent, stop=stop):
            nonlocal calls
            calls += 1
            if calls == stop:
                monkeypatch.setattr(tuned, "shutil", SimpleNamespace(rmtree=lambda *_, **__: None))  # a kill sweeps nothing
                raise StoppedHereError
            return validate(agent)

        with pytest.raises(StoppedHereError):
            run(small_log, tmp_path / "t", sought(), stopping)
        monkeypatch.undo()
        assert list((tmp_path / "t" / SCRATCH).iterdir())
    results = run(small_log, tmp_path / "t", sought())
    assert outcomes(results) == outcomes(whole[1])


def test_trials_are_proposed_and_not_only_drawn(whole):
    """After three drawn ones there are some that were pruned: else the test above says little."""
    assert {one.outcome for one in whole[1]} == {"finished", "pruned"}
    assert len({one.settings["learning_rate"] for one in whole[1]}) == len(whole[1])


def test_more_trials_go_on_with_the_same_study(small_log, tmp_path, whole):
    some = run(small_log, tmp_path / "t", sought(**SPACE, trials=4))
    assert outcomes(some) == outcomes(whole[1][:4])
    assert outcomes(run(small_log, tmp_path / "t", sought())) == outcomes(whole[1])


def test_a_study_that_has_its_trials_trains_nothing(small_log, whole):
    def never(agent):
        raise StoppedHereError

    assert run(small_log, whole[0], sought(), never) == whole[1]


def test_a_trial_below_the_median_of_the_finished_ones_is_pruned_after_its_warmup(small_log, tmp_path):
    validate = by_trial([0.9, 0.7, 0.5, 0.6, 0.8])  # the median of the first three is 0.7
    results = run(small_log, tmp_path / "t", sought(**SPACE, trials=5, warmup_epochs=2), validate)
    assert [one.outcome for one in results] == ["finished", "finished", "finished", "pruned", "finished"]
    assert [one.epochs_done for one in results] == [4, 4, 4, 2, 4]
    assert results[3].validation == 0.6


def test_the_first_trials_are_trained_to_their_end_however_bad(small_log, tmp_path):
    results = run(small_log, tmp_path / "t", sought(**SPACE, trials=3), by_trial([0.9, 0.5, 0.1]))
    assert [(one.outcome, one.validation) for one in results] == [("finished", 0.9), ("finished", 0.5), ("finished", 0.1)]


def test_only_the_first_seed_of_a_trial_is_compared_with_other_trials(small_log, tmp_path):
    worth, calls = by_trial([0.5, 0.5, 0.5, 0.8]), []

    def validate(agent):
        """The second seed of the last trial is worthless: calls of a trial are five for each seed."""
        calls.append(agent)
        return {"NDCG@10": 0.0} if len(calls) > 35 else worth(agent)

    results = run(small_log, tmp_path / "t", sought(**SPACE, trials=4, seeds=[0, 1]), validate)
    assert (results[3].outcome, results[3].validation) == ("finished", pytest.approx(0.4))
    assert [one.epochs_done for one in results] == [4] * 4


def test_the_same_settings_are_not_trained_twice(small_log, tmp_path, monkeypatch):
    trained = []
    real = tuned.train
    monkeypatch.setattr(
        tuned, "train", lambda entry, *rest, **more: trained.append(entry.config.dropout) or real(entry, *rest, **more)
    )
    results = run(small_log, tmp_path / "t", sought(dropout=[0, 0.5], trials=6), by_setting("dropout"))
    assert sorted(trained) == [0.0, 0.5]
    assert [one.validation for one in results] == [one.settings["dropout"] for one in results]
    repeats = [one for one in results if one.note]
    assert len(repeats) == 4
    assert all(results[int(one.note.removeprefix("repeats trial ")) - 1].settings == one.settings for one in repeats)
    assert best_of(results).note == ""


def test_of_equal_trials_the_first_wins(small_log, tmp_path):
    results = run(small_log, tmp_path / "t", sought(**SPACE, trials=3), lambda agent: {"NDCG@10": 0.5})
    assert best_of(results).number == 1


def test_a_trial_whose_loss_is_no_number_fails_and_the_study_goes_on(small_log, tmp_path):
    asked = sought(learning_rate=[1e30, 0.01], trials=6)
    results = run(small_log, tmp_path / "t", asked, lambda agent: {"NDCG@10": 0.2})
    failed = [one for one in results if one.settings["learning_rate"] == 1e30]
    assert {one.outcome for one in failed} == {"failed"}
    assert failed[0].note == "loss 'ce' is nan in epoch 1, batch 1"
    assert best_of(results).settings == {"learning_rate": 0.01}


def test_a_combination_that_no_agent_can_have_fails(small_log, tmp_path):
    asked = sought({"hidden_size": 12}, hidden_size=[12, 16], n_heads=[1, 3], trials=20)
    results = run(small_log, tmp_path / "t", asked, lambda agent: {"NDCG@10": 0.2})
    impossible = [one for one in results if one.settings == {"hidden_size": 16, "n_heads": 3}]
    assert {one.outcome for one in impossible} == {"failed"}
    assert impossible[0].note == "hidden_size 16 is not a multiple of n_heads 3"
    assert {one.outcome for one in results if one not in impossible} <= {"finished", "pruned"}


@pytest.mark.parametrize(
    ("error", "counts"), [(torch.OutOfMemoryError("GPU full"), True), (LearecError("loss"), True), (DataError("log"), False)]
)
def test_what_settings_are_not_to_blame_for_stops_the_study(small_log, tmp_path, error, counts):
    def validate(agent):
        raise error

    if not counts:
        with pytest.raises(type(error)):
            run(small_log, tmp_path / "t", sought(**SPACE, trials=1), validate)
        return
    (only,) = run(small_log, tmp_path / "t", sought(**SPACE, trials=1), validate)
    assert (only.outcome, only.validation) == ("failed", 0.0)
    assert best_of([only]) is None


CHANGED = {
    "a choice": (sought(**{**SPACE, "dropout": [0, 0.4]}), r"dropout was \[0, 0.5\] and is now \[0, 0.4\]"),
    "a range": (sought(**{**SPACE, "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}), "learning_rate was"),
    "another setting sought": (sought(**SPACE, gamma=[0.1, 0.2]), r"gamma was 0.5 and is now \[0.1, 0.2\]"),
    "the agent": (sought({"hidden_size": 16}), "hidden_size was 8 and is now 16"),
    "the seeds": (sought(**SPACE, seeds=[0, 1]), r"trained_seeds was \[0\] and is now \[0, 1\]"),
    "the pruning": (sought(**SPACE, warmup_epochs=2), "warmup_epochs was 1 and is now 2"),
    "the recipe's seed": (replace(sought(), seed=1), "seed was 0 and is now 1"),
    "the measure": (replace(sought(), mask_seen=False), "mask_seen was True and is now False"),
}


@pytest.mark.parametrize(("asked", "reason"), CHANGED.values(), ids=CHANGED)
def test_a_study_of_something_else_is_not_mixed_with_this_one(small_log, whole, asked, reason):
    folder, _ = whole
    before = (folder / JOURNAL).read_bytes()
    with pytest.raises(ArtifactError, match=f"{folder}: holds a study .*, because {reason}.*; .* delete {folder} to begin anew"):
        run(small_log, folder, asked)
    assert (folder / JOURNAL).read_bytes() == before


def test_a_study_on_another_log_is_not_mixed_with_this_one(small_log, whole):
    with pytest.raises(ArtifactError, match="because it was made from another log"):
        run(replace(small_log, digest="else"), whole[0], sought())


def test_what_only_says_where_the_search_ends_or_what_is_written_out_does_not_matter():
    same = sought({"dropout": 0.1, "seeds": (0, 1, 2), "preset": "strong", "gamma": 0.5})
    assert same.request("log", None) == sought(**SPACE, trials=99).request("log", None)


def test_two_processes_do_not_work_on_one_study(tmp_path):
    asked = sought()
    request = asked.request("log", None)
    with (
        open_study(tmp_path / "t", request, asked.tune),
        pytest.raises(ArtifactError, match="another `learec tune` is at work"),
        open_study(tmp_path / "t", request, asked.tune),
    ):
        pass
    with open_study(tmp_path / "t", request, asked.tune):
        pass


def test_half_a_line_and_a_lock_that_a_kill_left_are_swept_away(small_log, tmp_path, whole):
    folder = tmp_path / "t"
    run(small_log, folder, sought(**SPACE, trials=5))
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code":4,"worker')
    (folder / f"{JOURNAL}.lock").touch()
    begun = time.monotonic()
    assert outcomes(run(small_log, folder, sought())) == outcomes(whole[1])
    assert time.monotonic() - begun < 25  # Optuna breaks a lock after 30 s


def test_a_damaged_study_is_refused_in_one_sentence(small_log, tmp_path):
    folder = tmp_path / "t"
    run(small_log, folder, sought(**SPACE, trials=1))
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"".join([*lines[:2], b"{nothing\n", *lines[2:]]))
    with pytest.raises(ArtifactError, match=r"study\.journal: damaged .*; delete .* to begin anew"):
        run(small_log, folder, sought())


def test_nothing_of_a_trials_agents_is_kept(whole):
    folder, _ = whole
    assert {path.name for path in folder.iterdir()} == {"request.json", JOURNAL, TABLE}


def test_agents_that_a_kill_left_are_not_gone_on_with(small_log, tmp_path, whole):
    left = tmp_path / "t" / SCRATCH / "seed-0"
    left.mkdir(parents=True)
    (left / "something").touch()
    assert outcomes(run(small_log, tmp_path / "t", sought())) == outcomes(whole[1])


def test_no_new_trial_begins_when_the_time_is_over(small_log, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(tuned, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def validate(agent):
        now[0] += 5.0  # seconds; 25 for a trial, which is before and after four epochs
        return {"NDCG@10": 0.5}

    assert len(run(small_log, tmp_path / "t", sought(), validate, minutes=1)) == 3
    assert len(run(small_log, tmp_path / "t", sought(), validate, minutes=0.1)) == 4


def test_the_table_has_a_row_for_every_trial_with_its_settings(whole):
    folder, results = whole
    table = pl.read_parquet(folder / TABLE)
    assert table.columns == ["number", "outcome", "validation", "epochs_done", "seconds", "note", "dropout", "learning_rate"]
    assert table["number"].to_list() == list(range(1, 10))
    assert table["validation"].to_list() == [one.validation for one in results]
    assert table["learning_rate"].to_list() == [one.settings["learning_rate"] for one in results]


def test_every_trial_is_told_with_its_number_its_value_the_best_one_and_the_time_left(small_log, tmp_path, capsys):
    worth = {"NDCG@10": 0.25}
    run(small_log, tmp_path / "t", sought(dropout=[0.5], trials=2), lambda agent: worth, reporter=Reporter(Console(width=200)))
    first, second = [line.strip() for line in capsys.readouterr().out.splitlines() if " of 2: " in line]
    assert first.startswith("trial 1 of 2: 0.2500; best 0.2500 in trial 1; about ")
    assert first.endswith(" s left; dropout 0.5")
    assert second == "trial 2 of 2: 0.2500 (repeats trial 1); best 0.2500 in trial 1; done; dropout 0.5"


def test_whole_numbers_stay_whole_and_both_ends_are_tried():
    asked = sought(n_layers={"low": 1, "high": 3})
    drawn = {asked.distributions["n_layers"].to_external_repr(value) for value in (1.0, 2.0, 3.0)}
    assert drawn == {1, 2, 3}
    assert all(isinstance(value, int) for value in drawn)
    assert asked.distributions["n_layers"].low == 1
    assert asked.distributions["n_layers"].high == 3


def test_a_choice_may_be_a_list_and_a_trial_without_columns_sees_no_annotations(small_log, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        tuned, "train", lambda entry, log, annotations, *rest, **more: seen.update({entry.config.lea: annotations})
        or {"curves": {"best": 0.1}},
    )  # fmt: skip
    columns = {name: None for name in Annotations.__dataclass_fields__}
    annotations = Annotations(**{**columns, "digest": "d"})
    asked = sought({"objective": "snqn"}, lea=[[], ["state", "augmented"]], trials=8)
    results = run(small_log, tmp_path / "t", asked, annotations=annotations)
    assert seen == {(): None, ("state", "augmented"): annotations}
    assert {tuple(one.settings["lea"]) for one in results} == set(seen)
    assert pl.read_parquet(tmp_path / "t" / TABLE)["lea"].to_list() == [one.settings["lea"] for one in results]
