"""Beside the line: tune. From log/ and, where a trial reads them, annotations/ to tuning/AGENT/ and a recipe of the winner.

No stage depends on what is made here, and `run` does not walk it. Trials are judged on the validation part alone.
"""

from pathlib import Path
from typing import Any

from rich.table import Table

from learec.artifacts import write_text
from learec.config import TuneConfig
from learec.errors import ConfigError
from learec.line import validation_of
from learec.run import Run, open_log, require_annotations, require_log, require_text_annotations
from learec.toml_text import toml_text

WINNER = "winner.toml"
N_SHOWN = 10


def tune_stage(run: Run, agent: str, trials: int | None, minutes: float | None) -> None:
    """Go on with an agent's study, show its best trials, and write the recipe of the best one."""
    config = _search(run, agent, trials)
    _require_optuna()
    from learec.agents.study import Sought
    from learec.agents.tune import Material, tune

    sought = Sought(agent, run.recipe.agents[agent], config, run.recipe.seed, run.recipe.evaluation.mask_seen)
    annotations, log = _annotations(run, agent, config, require_log(run)), open_log(run)
    material = Material(log, annotations, validation_of(log, sought.mask_seen), run.options.device)
    folder = run.folder("tuning") / agent
    results = tune(sought, material, folder, minutes=minutes, reporter=run.reporter)
    _show(run, results, list(config.search))
    if len(results) < config.trials:
        run.reporter.say(f"stopped after {len(results)} of {config.trials} trials; run the same command again to go on")
    _write_winner(run, agent, results, folder / WINNER)


def _search(run: Run, agent: str, trials: int | None) -> TuneConfig:
    """What the recipe says of an agent's search, with as many trials as the command says."""
    if agent not in run.recipe.tune:
        raise ConfigError(
            f"{run.recipe_name}: has no table [tune.{agent}] of what to search; add it, with a line such as dropout = [0.2, 0.5]"
        )
    config = run.recipe.tune[agent]
    return config if trials is None else config.model_copy(update={"trials": trials})


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError("tune needs optuna, which is not installed; run `pip install 'learec[tune]'`") from None


def _annotations(run: Run, agent: str, config: TuneConfig, log_digest: str) -> Any:
    """The run's annotations if any trial may read them."""
    from learec.annotations.table import load_annotations

    sought = config.search["lea"].values if "lea" in config.search else (run.recipe.agents[agent].lea,)
    if not any(sought):
        return None
    require_annotations(run, log_digest)
    text = run.folder("text-annotations") if run.needs_text_annotations(agent) else None
    if text is not None:
        require_text_annotations(run, log_digest)
    return load_annotations(run.folder("annotations"), text)


def _show(run: Run, results: list[Any], fields: list[str]) -> None:
    """The best trials, best first; one that repeats another is not shown."""
    from learec.evaluation.metrics import SELECTING

    finished = [one for one in results if one.outcome == "finished" and not one.note]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("trial", SELECTING, "epochs", *fields):
        table.add_column(heading, no_wrap=True)
    for one in sorted(finished, key=lambda one: -one.validation)[:N_SHOWN]:
        settings = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in one.settings.values())
        table.add_row(str(one.number), f"{one.validation:.4f}", str(one.epochs_done), *settings)
    counts = {name: sum(one.outcome == name for one in results) for name in ("finished", "pruned", "failed")}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    run.reporter.say(f"\n{run.recipe.name}: {len(results)} trials ({told}), the best on the validation part")
    run.reporter.console.print(table)


def _write_winner(run: Run, agent: str, results: list[Any], path: Path) -> None:
    """The given recipe with the best trial's settings, and how to run it."""
    from learec.agents.study import best_of
    from learec.evaluation.metrics import SELECTING

    best = best_of(results)
    if best is None:
        why = results[-1].note if results else "there was no time for one"
        raise ConfigError(f"[tune.{agent}]: none of {len(results)} trials could be trained ({why}); search other values")
    won = run.recipe.with_agent(agent, run.recipe.agents[agent].replaced(best.settings))
    heading = (
        f"# [agents.{agent}] is as in trial {best.number} of {len(results)}: validation {SELECTING} {best.validation:.4f}.\n"
        "# It was chosen by that figure, which therefore flatters it; the test part has not been looked at.\n"
    )
    write_text(path, heading + toml_text(won.model_dump(mode="json", exclude_unset=True, exclude_none=True)))
    run.reporter.say(f"winner: trial {best.number}; train and measure it with\n  {_next_command(run, path)}")


def _next_command(run: Run, path: Path) -> str:
    data = [] if run.recipe.simulate else ["--data", str(run.options.data_folder)]
    folder = [] if run.options.folder == Path("runs") / run.recipe.name else ["--folder", str(run.options.folder)]
    return " ".join(["learec", "run", str(path), *data, *folder])
