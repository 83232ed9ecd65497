"""What the README tells people to type works when it is typed, on a log of the kind that it describes."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from learec.config import AgentConfig, DataConfig, load_recipe
from learec.data.log import load_log

ROOT = Path(__file__).parent.parent
DATA_DOC = (ROOT / "docs/data.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if not kind for line in block.splitlines() if re.match(r"(make|learec) ", line)]
NAMES = ["Drill", "Saw", "Hammer", "Lamp", "Kettle", "Pan"]


def write_shop(folder: Path) -> None:
    """clicks.csv and products.csv with the columns that the README's recipe names; some fields are empty."""
    rng = random.Random(0)
    products = ["sku,name,maker,department"]
    for number in range(30):
        name = f"{rng.choice(['Red', 'Blue', 'Old'])} {rng.choice(NAMES)} {number}"
        maker = rng.choice(["Bosch", "Acme", ""])
        products.append(f"sku-{number},{name},{maker},{rng.choice(['Tools', 'Kitchen'])}")
    clicks = ["visitor,sku,when,kind"]
    for visitor in range(60):
        for step, number in enumerate(rng.sample(range(30), rng.randint(4, 8))):
            kind = rng.choice(["view", "view", "purchase"])
            clicks.append(f"v{visitor},sku-{number},2026-01-{1 + visitor % 28:02d}T10:{step:02d}:00,{kind}")
    (folder / "products.csv").write_text("\n".join(products) + "\n")
    (folder / "clicks.csv").write_text("\n".join(clicks) + "\n")


def test_the_readme_starts_with_the_two_commands():
    assert [command.split("#")[0].strip() for command in COMMANDS[:2]] == ["make demo", "make test"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|^)make (\w+)", README, re.MULTILINE))))
def test_every_make_target_named_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))))
def test_every_file_linked_exists(path):
    assert (ROOT / path).exists()


def test_the_shop_recipe_and_its_commands_run_as_printed(tmp_path):
    write_shop(tmp_path)
    recipe = next(block for kind, block in BLOCKS if kind == "toml")
    (tmp_path / re.match(r"# (\S+)", recipe).group(1)).write_text(recipe)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "learec").write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from learec.cli import main; main()' \"$@\"\n")
    (bin_folder / "learec").chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    environment.pop("LEAREC_DATA", None)
    ran = [command for command in COMMANDS if "shop" in command]
    assert len(ran) >= 2
    printed = {}
    for command in (command.split("#")[0].strip() for command in ran):
        if command.startswith("learec serve"):
            assert_it_serves(f"exec {command} --port 0", tmp_path, environment)
            continue
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed[" ".join(command.split()[:2])] = done.stdout
    assert "sku-" in printed["learec recommend"]


def assert_it_serves(command, folder, environment):
    """The server prints its address, says that it is ready, and ends when asked to."""
    server = subprocess.Popen(command, shell=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = next(found.group() for line in server.stdout if (found := re.search(r"http://[\w.:]+", line)))
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{address}/ready") as reply:
                    assert reply.status == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        request = urllib.request.Request(
            f"{address}/recommend", b'{"history": ["sku-4"], "k": 3}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            assert len(json.load(reply)["answers"][0]["items"]) == 3
    finally:
        server.terminate()
        assert server.wait(30) in (0, -signal.SIGTERM)  # once it has drained, it ends as any program that is asked to


def test_the_page_on_data_names_every_setting_format_and_split():
    for name in (*DataConfig.model_fields, *get_args(DataConfig.model_fields["format"].annotation)):
        assert f"`{name}" in DATA_DOC or f"{name} =" in DATA_DOC or f"[data.{name}]" in DATA_DOC, name
    for name in ("global_time", "leave_one_out", "by_session", "column"):
        assert f"`{name}`" in DATA_DOC


def test_the_page_on_data_has_a_recipe_that_loads(tmp_path):
    block = re.search(r"```toml\n(.*?)```", DATA_DOC, flags=re.DOTALL).group(1)
    (tmp_path / "ml.toml").write_text(block + "[agents.sasrec]\n")
    assert load_recipe(tmp_path / "ml.toml").data.format == "movielens"


def test_the_page_on_data_prepares_frames_as_printed(tmp_path, monkeypatch):
    write_shop(tmp_path)
    recipe = next(block for kind, block in BLOCKS if kind == "toml")
    (tmp_path / "shop.toml").write_text(recipe)
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```python\n(.*?)```", DATA_DOC, flags=re.DOTALL).group(1)
    exec(block, {"events": pl.read_csv("clicks.csv"), "items": pl.read_csv("products.csv")})
    assert load_log(tmp_path / "runs/shop/log").catalog.n_items == 30


def test_the_page_on_agents_has_a_search_that_loads_and_names_every_objective_and_encoder(tmp_path):
    page = (ROOT / "docs/agents.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", page, flags=re.DOTALL).group(1)
    (tmp_path / "r.toml").write_text('[data]\nevents = "log.csv"\n[agents.sasrec]\n' + block)
    assert set(load_recipe(tmp_path / "r.toml").tune) == {"sasrec"}
    for field in ("objective", "encoder", "preset"):
        for name in get_args(AgentConfig.model_fields[field].annotation):
            assert f"`{name}`" in page or f'"{name}"' in page, name
