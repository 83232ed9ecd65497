"""The architecture is a test: who may import whom (design.md), and what importing learec must not drag in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import learec

ROOT = Path(learec.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FOUNDATION = {"errors", "config", "artifacts", "progress", "workers"}
# What each part of learec may import of the other parts.
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "config": FOUNDATION,
    "artifacts": FOUNDATION,
    "progress": FOUNDATION,
    "workers": FOUNDATION,
    "toml_text": set(),
    "doctor": set(),
    "fit": FOUNDATION,
    "run": FOUNDATION | {"data"},
    "data": FOUNDATION,
    "models": set(),
    "sampled_softmax": {"data"},
    "environment": FOUNDATION | {"data", "fit", "sampled_softmax"},
    "annotations": FOUNDATION | {"data"},
    "agents": FOUNDATION | {"data", "annotations", "models", "fit", "sampled_softmax"},
    "evaluation": FOUNDATION | {"data", "annotations"},
    "serving": FOUNDATION | {"data", "agents"},
}
# May import anything; nothing below may import them.
COMPOSERS = {"line", "contest", "cli", "__main__", "leakage", "tuning", "experiment", "hybrids"}
LANGUAGE_MODEL = {"transformers", "peft"}  # in environment/ only


def part_of(path: Path) -> str:
    """environment/adapt.py -> environment, line.py -> line."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports_of(source: str) -> set[str]:
    """Dotted names that a module imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden(part: str, source: str) -> set[str]:
    """What a module of this part imports and may not."""
    names = imports_of(source)
    ours = {name.split(".")[1] for name in names if name.startswith("learec.")}
    heavy = set() if part == "environment" else LANGUAGE_MODEL & {name.split(".")[0] for name in names}
    return heavy if part in COMPOSERS else heavy | ours - MAY_IMPORT[part] - {part}


def modules_after(statement: str) -> set[str]:
    """Names in sys.modules of a fresh interpreter after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_its_layer_may(path):
    assert forbidden(part_of(path), path.read_text(encoding="utf-8")) == set()


def test_every_part_of_the_package_stands_in_the_table():
    assert {part_of(path) for path in FILES} == MAY_IMPORT.keys() | COMPOSERS


@pytest.mark.parametrize(
    ("part", "source", "seen"),
    [
        ("serving", "from learec.environment.environment import Environment", {"environment"}),
        ("serving", "def late():\n    import learec.evaluation.metrics", {"evaluation"}),
        ("data", "from learec import cli", {"cli"}),
        ("models", "from learec.config import AgentConfig", {"config"}),
        ("agents", "import transformers", {"transformers"}),
        ("line", "from peft import LoraConfig", {"peft"}),
        ("environment", "import transformers\nfrom learec.fit import fit\nfrom learec.environment import llm", set()),
    ],
)
def test_the_walk_sees_an_import_that_is_not_allowed(part, source, seen):
    assert forbidden(part, source) == seen


def test_no_file_is_named_for_holding_anything():
    names = {path.name for path in FILES}
    assert names & {"utils.py", "common.py", "helpers.py", "base.py"} == set()


def test_importing_learec_and_its_command_line_does_no_heavy_work():
    assert modules_after("import learec, learec.cli") & {"torch", "accelerate", "transformers", "peft", "polars"} == set()


@pytest.mark.parametrize("module", ["learec.serving", "learec.serving.recommender"])
def test_importing_what_serves_needs_no_language_model_no_training_and_no_torch(module):
    modules = modules_after(f"import {module}")
    assert modules & {"torch", "safetensors", "transformers", "peft", "accelerate", "onnx"} == set()
    ours = {name for name in modules if name.startswith("learec.")}
    assert {name for name in ours if name.split(".")[1] in {"agents", "models", "fit", "environment", "evaluation"}} == set()
    assert module in ours
