"""What of a run's folder is served: nothing from outside of it, and only what was made from one another."""

from collections.abc import Iterable
from pathlib import Path

from learec.artifacts import MANIFEST, Manifest, read_manifest
from learec.data.log import Catalog, Ints, Log, load_catalog, load_log
from learec.errors import ArtifactError
from learec.serving.choose import Chosen
from learec.serving.ranker import Served

VERSION_DIGITS = 12  # of a sha256
MAKE_AGENT = "learec train RECIPE"


def open_log(chosen: Chosen, wanted: str) -> Log:
    """The run's log, refused if it neither has this digest nor extends the log that has."""
    folder = chosen.run_folder / "log"
    check_inside(chosen, folder, [MANIFEST])
    check_inside(chosen, folder, read_manifest(folder, "log", MAKE_AGENT).files)
    log = load_log(folder)
    _check_log(folder, wanted, (log.digest, *log.ancestors))
    return log


def open_catalog(chosen: Chosen, wanted: str) -> Catalog:
    """The catalog of the run's log, refused as by `open_log`. No other file of the log is read."""
    folder = chosen.run_folder / "log"
    check_inside(chosen, folder, [MANIFEST, "catalog.arrow"])
    catalog, digests = load_catalog(folder)
    _check_log(folder, wanted, digests)
    return catalog


def check_inside(chosen: Chosen, folder: Path, names: Iterable[str]) -> None:
    """Refuse names and links that lead out of the run's folder, before anything there is read."""
    root = chosen.run_folder.resolve()
    for name in names:
        if not (folder / name).resolve().is_relative_to(root):
            raise ArtifactError(f"{folder / name}: leads out of {chosen.run_folder}; copy the file itself to its place there")


def belongs(chosen: Chosen) -> bool:
    """Whether the export is of the agent as it is here now, or the agent is not here to be asked."""
    if not (chosen.trained / MANIFEST).exists():
        return True
    check_inside(chosen, chosen.trained, [MANIFEST])
    check_inside(chosen, chosen.exported, [MANIFEST])
    export = read_manifest(chosen.exported, "export", make_export(chosen))
    return export.request.parents["agent"] == read_manifest(chosen.trained, "agent", MAKE_AGENT).digest


def make_export(chosen: Chosen) -> str:
    """The command that exports an agent."""
    return f"learec export {chosen.run_folder} --onnx --agent {chosen}"


def served(chosen: Chosen, manifest: Manifest, counts: Ints) -> Served:
    """What is known of an agent or its export beside the weights."""
    return Served(str(chosen), manifest.digest[:VERSION_DIGITS], bool(manifest.request.config["mask_seen"]), counts)


def _check_log(folder: Path, wanted: str, digests: tuple[str, ...]) -> None:
    if wanted not in digests:
        raise ArtifactError(f"{folder}: is not the log that the agent was trained on; run `{MAKE_AGENT}`")
