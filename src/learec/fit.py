"""The one training loop: batches in, named losses out, validation, early stopping, and exact resume from an epoch's end.

Every step seeds torch from (seed, epoch, batch), so a resumed run draws the same dropout masks and negatives as one
that was never stopped, and no random state has to be stored.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from learec.artifacts import SCRATCH, write_bytes
from learec.config import derived_seed
from learec.errors import LearecError
from learec.progress import Reporter

B = TypeVar("B")


@dataclass(frozen=True)
class Plan:
    """How long to train and when to stop. patience None: all epochs, and the last weights are kept."""

    epochs: int
    patience: int | None
    seed: int
    clip_norm: float = 5.0


@dataclass
class Curves:
    """What happened: one entry per epoch, entry 0 measured before training."""

    measures: list[dict[str, float]] = field(default_factory=list)  # validation
    losses: list[dict[str, float]] = field(default_factory=list)  # training means; entry 0 is empty
    best_epoch: int = 0
    best: float = -math.inf

    @property
    def epochs_done(self) -> int:
        """Epochs whose validation has been measured."""
        return len(self.measures) - 1


@dataclass(frozen=True)
class Task(Generic[B]):
    """What is trained, on what, and how it is judged."""

    learner: Mapping[str, Tensor]  # live tensors by name, updated in place; all that a checkpoint must hold
    optimizer: torch.optim.Optimizer
    batches: Callable[[int], Sequence[B]]  # epoch -> its batches
    losses: Callable[[B], dict[str, Tensor]]  # named; their sum is minimised
    validate: Callable[[], dict[str, float]]  # named; the first one chooses the epoch, higher is better
    after_step: Callable[[], None] = lambda: None


def fit(task: Task[B], plan: Plan, *, folder: Path, reporter: Reporter, description: str) -> Curves:
    """Train until the plan ends and leave the best weights in the task's learner.

    A checkpoint is written after each epoch into `folder`/checkpoints, and training goes on from one that is there.
    Raises LearecError if a loss is not finite; the last checkpoint stays.
    """
    learner, optimizer = task.learner, task.optimizer
    store = folder / SCRATCH / f"{description.split(' ')[0].replace('/', '-')}.safetensors"
    curves, best = _restore(store, learner, optimizer)
    keep_last = plan.patience is None

    def measure() -> None:
        nonlocal best
        measures = task.validate()
        curves.measures.append(measures)
        value = next(iter(measures.values()), 0.0)
        if keep_last or not best or value > curves.best:
            curves.best, curves.best_epoch = value, curves.epochs_done
            best = {name: tensor.detach().clone() for name, tensor in learner.items()}
        _checkpoint(store, learner, best, optimizer, curves)

    if not curves.measures:
        curves.losses.append({})
        measure()
    with reporter.bar(description, plan.epochs) as advance:
        advance(curves.epochs_done, _told(curves))
        while curves.epochs_done < plan.epochs and not _patience_is_over(curves, plan):
            epoch = curves.epochs_done + 1
            curves.losses.append(_epoch(task, plan, epoch))
            measure()
            advance(1, _told(curves))
    with torch.no_grad():
        for name, tensor in learner.items():
            tensor.copy_(best[name])
    return curves


def _epoch(task: Task[B], plan: Plan, epoch: int) -> dict[str, float]:
    """One pass over the batches; returns the mean of every named loss."""
    totals: dict[str, float] = {}
    parameters = [tensor for tensor in task.learner.values() if tensor.requires_grad]
    batches = task.batches(epoch)
    for number, batch in enumerate(batches):
        torch.manual_seed(derived_seed(plan.seed, epoch, number))
        named = task.losses(batch)
        values = {name: float(loss.detach()) for name, loss in named.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise LearecError(
                    f"loss {name!r} is {value} in epoch {epoch}, batch {number}; the checkpoint before it is kept; "
                    "lower learning_rate in the recipe and run again"
                )
            totals[name] = totals.get(name, 0.0) + value / len(batches)
        task.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(named.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
        task.optimizer.step()
        task.after_step()
    return totals


def _patience_is_over(curves: Curves, plan: Plan) -> bool:
    return plan.patience is not None and curves.epochs_done - curves.best_epoch >= plan.patience


def _told(curves: Curves) -> str:
    latest = ", ".join(f"{name} {value:.4f}" for name, value in curves.measures[-1].items())
    return f"{latest} (best in epoch {curves.best_epoch})" if latest else ""


def _checkpoint(
    store: Path, learner: Mapping[str, Tensor], best: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, curves: Curves
) -> None:
    """Everything that a resumed run needs in one file, so that it is there as a whole or not at all."""
    tensors = {f"now/{name}": tensor.detach().contiguous() for name, tensor in learner.items()}
    tensors |= {f"best/{name}": tensor.contiguous() for name, tensor in best.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{slot}": value.contiguous() for slot, value in slots.items()}
    store.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(store, save(tensors, metadata={"curves": json.dumps(asdict(curves))}))


def _restore(store: Path, learner: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> tuple[Curves, dict[str, Tensor]]:
    """Curves and best weights of the checkpoint, its weights and optimizer state put in place; fresh ones without it."""
    if not store.exists():
        return Curves(), {}
    with safe_open(str(store), framework="pt") as file:
        curves = Curves(**json.loads(file.metadata()["curves"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    with torch.no_grad():
        for name, tensor in learner.items():
            tensor.copy_(tensors[f"now/{name}"])
    slots: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            index, _, slot = rest.partition("/")
            slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return curves, {name.removeprefix("best/"): tensor for name, tensor in tensors.items() if name.startswith("best/")}
