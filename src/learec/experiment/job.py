"""The process of one job: `python -m learec.experiment.job RECIPE FOLDER DATA DEVICE STAGE [AGENT SEED]`.

It ends when the process that started it does, however that ends: what it was making stays partial, and the next start goes on
with it. Standard input is the tie; nothing is ever written to it.
"""

import os
import sys
import threading
from pathlib import Path

ORPHANED = 143


def tie_to_parent() -> None:
    """End this process as soon as its standard input ends."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(ORPHANED)

    threading.Thread(target=wait, daemon=True).start()


def work(recipe_path: str, folder: str, data: str, device: str, stage: str, *cell: str) -> None:
    """One stage of a recipe; of training, one agent with one seed."""
    from rich.console import Console

    from learec.config import RunOptions, load_recipe
    from learec.line import STAGES, train_stage
    from learec.progress import Reporter
    from learec.run import Run, check_folder

    recipe = load_recipe(Path(recipe_path))
    options = RunOptions(Path(folder), Path(data), device)
    check_folder(options.folder)
    reporter = Reporter(Console(highlight=False, width=130))
    if stage == "train":
        agent, seed = cell
        recipe = recipe.with_agent(agent, recipe.agents[agent].replaced({"seeds": (int(seed),)}))
        train_stage(Run(recipe, recipe_path, options, reporter), only=agent)
        return
    run = Run(recipe, recipe_path, options, reporter)
    for name in ("simulate", "prepare") if stage == "prepare" else (stage,):
        STAGES[name](run)


def main() -> None:
    """An error is one line at the end of standard error and exit code 2, as on the command line."""
    tie_to_parent()
    from learec.errors import LearecError

    try:
        work(*sys.argv[1:])
    except LearecError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
