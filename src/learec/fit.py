"""The one training loop: batches in, named losses out, validation, early stopping, and exact resume at any batch.

Every step seeds torch from (seed, epoch, batch), so a resumed run draws the same dropout masks and negatives as one
that was never stopped, and no random state has to be stored.

Several processes (workers.py) each take their share of every batch, sum their gradients and make the same move, so their
weights stay equal; the main one validates and writes.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from learec.artifacts import SCRATCH, UNFINISHED
from learec.config import derived_seed
from learec.errors import LearecError
from learec.progress import Reporter
from learec.workers import Log, Workers

B = TypeVar("B")
CHECKPOINT_SECONDS = 60.0  # within an epoch; one is written after every epoch anyway


@dataclass(frozen=True)
class Plan:
    """How long to train and when to stop. patience None: all epochs, and the last weights are kept.

    Before `first_epochs` are over, patience is not: an objective that changes on its way gets the time to do so.
    """

    epochs: int
    patience: int | None
    seed: int
    first_epochs: int = 0
    clip_norm: float = 5.0


@dataclass
class Curves:
    """What happened: one entry per epoch, entry 0 measured before training."""

    measures: list[dict[str, float]] = field(default_factory=list)  # validation
    losses: list[dict[str, float]] = field(default_factory=list)  # training means; entry 0 is empty
    best_epoch: int = 0
    best: float = -math.inf
    batches_done: int = 0  # of the epoch under way
    totals: dict[str, float] = field(default_factory=dict)  # their losses, summed

    @property
    def epochs_done(self) -> int:
        """Epochs whose validation has been measured."""
        return len(self.measures) - 1


@dataclass(frozen=True)
class Task(Generic[B]):
    """What is trained, on what, and how it is judged."""

    learner: Mapping[str, Tensor]  # live tensors by name, updated in place; all that a checkpoint must hold
    optimizers: Sequence[torch.optim.Optimizer]
    batches: Callable[[int], Sequence[B]]  # epoch -> its batches
    losses: Callable[[B], dict[str, Tensor]]  # named; their sum is minimised
    validate: Callable[[], dict[str, float]]  # named; the first one chooses the epoch, higher is better
    before_step: Callable[[], None] = lambda: None
    after_step: Callable[[], None] = lambda: None
    # Batch, process, n -> that process's share, and by how much its mean of a named loss counts in the whole batch's.
    # None: one process only.
    share: Callable[[B, int, int], tuple[B, Callable[[str], float]]] | None = None


def fit(
    task: Task[B],
    plan: Plan,
    *,
    folder: Path,
    reporter: Reporter,
    description: str,
    workers: Workers | None = None,
    log: Log = lambda epoch, values: None,
) -> Curves:
    """Train until the plan ends and leave the best weights in the task's learner, on every process.

    Checkpoints are written after each epoch and each minute into `folder`/checkpoints, and training goes on from one that
    is there. `log` is told every epoch, those before the checkpoint too.
    Raises LearecError if a loss is not finite; the last checkpoint stays.
    """
    learner, workers = task.learner, workers or Workers()
    store = folder / SCRATCH / f"{description.split(' ')[0].replace('/', '-')}.safetensors"
    curves, best = _restore(store, learner, task.optimizers)
    _check_same_start(curves, workers, store)
    keep_last = plan.patience is None

    def measure() -> None:
        nonlocal best
        measures = workers.from_main(task.validate)
        curves.measures.append(measures)
        value = next(iter(measures.values()), 0.0)
        if keep_last or not best or value > curves.best:
            curves.best, curves.best_epoch = value, curves.epochs_done
            best = {name: tensor.detach().clone() for name, tensor in learner.items()}
        save()
        log(curves.epochs_done, _logged(curves, curves.epochs_done))

    def save() -> None:
        if workers.is_main:
            _checkpoint(store, learner, best, task.optimizers, curves)

    for epoch in range(len(curves.measures)):
        log(epoch, _logged(curves, epoch))
    if not curves.measures:
        curves.losses.append({})
        measure()
    with reporter.bar(description, plan.epochs) as advance:
        advance(curves.epochs_done, _told(curves))
        while curves.epochs_done < plan.epochs and not _patience_is_over(curves, plan):
            curves.losses.append(_epoch(task, plan, curves, workers, save))
            measure()
            advance(1, _told(curves))
    with torch.no_grad():
        for name, tensor in learner.items():
            tensor.copy_(best[name])
    return curves


def _check_same_start(curves: Curves, workers: Workers, store: Path) -> None:
    """Nobody writes the next checkpoint before all have read this one, and all have read the same."""
    workers.wait()
    here = (curves.epochs_done, curves.batches_done)
    if workers.from_main(lambda: here) != here:
        raise LearecError(
            f"{store}: process {workers.process} finds another state of the training than the main process; "
            "give the run a --folder that all processes share"
        )


def _epoch(task: Task[B], plan: Plan, curves: Curves, workers: Workers, save: Callable[[], None]) -> dict[str, float]:
    """What is left of the epoch under way; returns the mean of every named loss over all of its batches."""
    epoch, saved = curves.epochs_done + 1, time.monotonic()
    batches = task.batches(epoch)
    for number in range(curves.batches_done, len(batches)):
        for name, value in step(task, batches[number], plan, (epoch, number), workers).items():
            curves.totals[name] = curves.totals.get(name, 0.0) + value
        curves.batches_done = number + 1
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save()
            saved = time.monotonic()
    means = {name: total / len(batches) for name, total in curves.totals.items()}
    curves.batches_done, curves.totals = 0, {}
    return means


def step(task: Task[B], batch: B, plan: Plan, where: tuple[int, int], workers: Workers | None = None) -> dict[str, float]:
    """One batch, the `where[1]`th of epoch `where[0]`: losses, gradients, one move of the learner. Returns the losses."""
    workers = workers or Workers()
    torch.manual_seed(derived_seed(plan.seed, *where))
    task.before_step()
    if workers.process > 0:  # what before_step draws is common, dropout and negatives are each process's own
        torch.manual_seed(derived_seed(plan.seed, *where, workers.process))
    named = _losses(task, batch, workers)
    for optimizer in task.optimizers:
        optimizer.zero_grad(set_to_none=True)
    torch.stack(list(named.values())).sum().backward()  # type: ignore[no-untyped-call]
    trained = [tensor for tensor in task.learner.values() if tensor.requires_grad]
    summed = workers.sum_gradients(trained, torch.stack([loss.detach() for loss in named.values()]))
    values = dict(zip(named, summed.tolist(), strict=True))
    for name, value in values.items():
        if not math.isfinite(value):
            raise LearecError(
                f"loss {name!r} is {value} in epoch {where[0]}, batch {where[1]}; the checkpoint before it is kept; "
                "lower learning_rate in the recipe and run again"
            )
    _clip(trained, plan.clip_norm)
    for optimizer in task.optimizers:
        optimizer.step()
    task.after_step()
    return values


def _losses(task: Task[B], batch: B, workers: Workers) -> dict[str, Tensor]:
    """Named losses of this process's share, weighed so that their sum over all processes is the loss of the whole batch."""
    if workers.n == 1:
        return task.losses(batch)
    if task.share is None:
        raise LearecError(f"this training runs in one process, and {workers.n} were started; start one")
    part, weight = task.share(batch, workers.process, workers.n)
    return {name: weight(name) * loss for name, loss in task.losses(part).items()}


def _clip(parameters: Sequence[Tensor], clip_norm: float) -> None:
    """Scale gradients down to a common norm; those of large tables are sparse, which torch's own function does not take."""
    if not any(tensor.grad is not None and tensor.grad.is_sparse for tensor in parameters):
        torch.nn.utils.clip_grad_norm_(list(parameters), clip_norm)
        return
    grads = []
    for tensor in parameters:
        if tensor.grad is not None:
            tensor.grad = tensor.grad.coalesce() if tensor.grad.is_sparse else tensor.grad
            grads.append(tensor.grad._values() if tensor.grad.is_sparse else tensor.grad)
    scale = (clip_norm / (torch.stack([grad.norm() for grad in grads]).norm() + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(scale)


def _patience_is_over(curves: Curves, plan: Plan) -> bool:
    if plan.patience is None or curves.epochs_done < plan.first_epochs:
        return False
    return curves.epochs_done - max(curves.best_epoch, plan.first_epochs) >= plan.patience


def _told(curves: Curves) -> str:
    latest = ", ".join(f"{name} {value:.4f}" for name, value in curves.measures[-1].items())
    return f"{latest} (best in epoch {curves.best_epoch})" if latest else ""


def _logged(curves: Curves, epoch: int) -> dict[str, float]:
    """An epoch's losses and measures under one name each."""
    losses = {f"loss/{name}": value for name, value in curves.losses[epoch].items()}
    return {**losses, **{f"validation/{name}": value for name, value in curves.measures[epoch].items()}}


def _checkpoint(
    store: Path,
    learner: Mapping[str, Tensor],
    best: Mapping[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    curves: Curves,
) -> None:
    """Everything that a resumed run needs in one file, so that it is there as a whole or not at all."""
    tensors = {f"now/{name}": tensor.detach().contiguous() for name, tensor in learner.items()}
    tensors |= {f"best/{name}": tensor.contiguous() for name, tensor in best.items()}
    for number, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            for slot, value in slots.items():
                tensors[f"optimizer/{number}/{index}/{slot}"] = torch.as_tensor(value).contiguous()
    store.parent.mkdir(parents=True, exist_ok=True)
    beside = store.with_name(store.name + UNFINISHED)
    save_file(tensors, beside, metadata={"curves": json.dumps(asdict(curves))})
    beside.rename(store)


def _restore(
    store: Path, learner: Mapping[str, Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[Curves, dict[str, Tensor]]:
    """Curves and best weights of the checkpoint, its weights and optimizer states put in place; fresh ones without it."""
    if not store.exists():
        return Curves(), {}
    with safe_open(str(store), framework="pt") as file:
        curves = Curves(**json.loads(file.metadata()["curves"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    with torch.no_grad():
        for name, tensor in learner.items():
            tensor.copy_(tensors[f"now/{name}"])
    slots: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, number, index, slot = name.split("/")
            slots[int(number)].setdefault(int(index), {})[slot] = tensor
    for optimizer, state in zip(optimizers, slots, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return curves, {name.removeprefix("best/"): tensor for name, tensor in tensors.items() if name.startswith("best/")}
