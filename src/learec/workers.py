"""Workers: the processes that train together, the device of each, and the loggers they write to; all through accelerate.

How many processes there are is read from the environment, where `learec train --processes N`, `accelerate launch` and
`torchrun` write it. accelerate and torch are imported when something needs them.
"""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from learec.artifacts import Request, building, partial_folder
from learec.errors import ConfigError, LearecError

if TYPE_CHECKING:
    from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")
Log = Callable[[int, Mapping[str, float]], None]  # epoch, values by name
LOGGERS = {"tensorboard": "tensorboard", "mlflow": "mlflow"}  # what accelerate calls it -> the package it needs
LONGEST_WAIT = timedelta(days=1)  # for the process that validates and writes
GRACE_SECONDS = 10.0  # for the other processes to say what is wrong once one of them has failed


def n_processes() -> int:
    """How many processes run this command together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_number() -> int:
    """Which of them this one is; 0 is the main one."""
    return int(os.environ.get("RANK", "0"))


class Workers:
    """The processes that train together. Each trains on its share of every batch; the main one validates, writes and tells.

    With one process nothing is exchanged, and accelerate is not asked.
    """

    def __init__(self, device: str = "cpu", loggers: Sequence[str] = (), log_folder: Path = Path("logs")) -> None:
        """Of several processes, each gets the device of this kind ("cpu", "cuda") that accelerate gives it."""
        self.n, self.process = n_processes(), process_number()
        if self.n > 1 and ":" in device:
            kind = device.split(":")[0]
            raise ConfigError(f"--device {device}: names one device for {self.n} processes; use --device {kind}")
        self.kind, self.loggers, self.log_folder = device, tuple(loggers), log_folder
        check_loggers(self.loggers)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that validates, writes and tells."""
        return self.process == 0

    @property
    def device(self) -> str:
        """The torch device of this process."""
        return self.kind if self.n == 1 else str(self._accelerator.device)

    @cached_property
    def _accelerator(self) -> Any:
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs

        return Accelerator(cpu=self.kind == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)])

    def autocast(self, precision: str) -> AbstractContextManager[Any]:
        """Matrix products in "bfloat16" within; nothing for "float32"."""
        if precision == "float32":
            return nullcontext()
        import torch

        return torch.autocast(torch.device(self.device).type, dtype=getattr(torch, precision))

    def sum(self, tensor: "Tensor") -> "Tensor":
        """Over all processes; all get it."""
        summed: Tensor = tensor if self.n == 1 else self._accelerator.reduce(tensor, "sum")
        return summed

    def sum_gradients(self, parameters: Sequence["Tensor"], values: "Tensor") -> "Tensor":
        """Put the sum over all processes in the place of every gradient, and return that of `values` (V,): one exchange.

        A parameter that no process has a gradient for gets none.
        """
        if self.n == 1:
            return values
        import torch

        has_gradient = torch.tensor([parameter.grad is not None for parameter in parameters], device=values.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([values, has_gradient.to(values.dtype), *(gradient.flatten() for gradient in gradients)])
        sizes = [len(values), len(parameters), *(gradient.numel() for gradient in gradients)]
        summed, present, *pieces = self.sum(flat).split(sizes)  # type: ignore[no-untyped-call]
        for parameter, piece, n in zip(parameters, pieces, present.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter) if n else None
        return summed

    def from_main(self, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function returns on the main process, which alone calls it. If it fails there, all processes stop."""
        if self.n == 1:
            return make(*args, **kwargs)
        made, failure = None, None
        if self.is_main:
            try:
                made = make(*args, **kwargs)
            except Exception as error:
                self._broadcast((None, str(error) or repr(error)))
                raise
        made, failure = self._broadcast((made, None))
        if failure is not None:
            raise LearecError(f"the main process has stopped: {failure}")
        return made

    def _broadcast(self, value: Any) -> Any:
        from accelerate.utils import broadcast_object_list

        _ = self._accelerator
        return broadcast_object_list([value], from_process=0)[0]

    def wait(self) -> None:
        """Until all processes have come this far."""
        if self.n > 1:
            self._accelerator.wait_for_everyone()

    @contextmanager
    def building(self, folder: Path, request: Request, notes: dict[str, Any]) -> Iterator[Path]:
        """`artifacts.building` by the main process; the others get the partial folder to read checkpoints from."""
        if self.is_main:
            with building(folder, request, notes) as partial:
                self.wait()
                yield partial
        else:
            self.wait()
            yield partial_folder(folder)
        self.wait()

    @contextmanager
    def logging(self, name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
        """A function that writes an epoch's values to every logger, under a name and its settings.

        A training that goes on tells its loggers all of its epochs again, so what a stopped one told is dropped.
        """
        plain = (bool, int, float, str)
        told = {key: value if isinstance(value, plain) else json.dumps(value) for key, value in settings.items()}
        trackers = [self._tracker(logger, name) for logger in self.loggers] if self.is_main else []

        def log(epoch: int, values: Mapping[str, float]) -> None:
            named = {key.replace("@", "_at_").replace(" ", "_"): value for key, value in values.items()}
            for tracker in trackers:
                tracker.log(named, step=epoch)

        try:
            for tracker in trackers:
                tracker.start()
                tracker.store_init_configuration(told)
            yield log
        finally:
            for tracker in trackers:
                tracker.finish()

    def _tracker(self, logger: str, name: str) -> Any:
        from accelerate.tracking import MLflowTracker, TensorBoardTracker

        _ = self._accelerator  # trackers ask it which process this is
        folder = self.log_folder.absolute() / logger
        if logger == "tensorboard":
            shutil.rmtree(folder / name, ignore_errors=True)
            return TensorBoardTracker(name, folder)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # training here is nobody else's business
        import mlflow

        folder.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        return MLflowTracker(self.log_folder.absolute().parent.name, (folder / "artifacts").as_uri(), run_name=name)


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger that is unknown or whose package is missing."""
    for name in names:
        if name not in LOGGERS:
            raise ConfigError(f"--log {name}: no such logger; known: {', '.join(LOGGERS)}")
        if importlib.util.find_spec(LOGGERS[name]) is None:
            raise ConfigError(f"--log {name}: the package {LOGGERS[name]} is not installed; pip install {LOGGERS[name]}")


def start_processes(n: int, command: Sequence[str]) -> int:
    """Run a command in n processes on this machine that find each other, and return its exit code: the first that is not 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(max((os.cpu_count() or 1) // n, 1))
    shared = {"OMP_NUM_THREADS": threads, **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
    started = [subprocess.Popen(command, env={**shared, "RANK": str(p), "LOCAL_RANK": str(p)}) for p in range(n)]
    try:
        while all(process.poll() in (None, 0) for process in started) and any(process.poll() is None for process in started):
            time.sleep(0.1)
        stop_at = time.monotonic() + GRACE_SECONDS
        while any(process.poll() is None for process in started) and time.monotonic() < stop_at:
            time.sleep(0.1)
    finally:
        for process in started:
            process.terminate()
        codes = [process.wait() for process in started]
    return next((code for code in codes if code), 0)
