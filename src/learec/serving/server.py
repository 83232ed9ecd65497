"""The process of `learec serve`: loads, listens, reloads, and drains when it is asked to stop."""

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from learec.errors import ConfigError
from learec.serving.app import make_app
from learec.serving.door import Door
from learec.serving.histories import open_histories
from learec.serving.limits import DRAIN_SECONDS, IDLE_SECONDS
from learec.serving.messages import Refused
from learec.serving.models import Models
from learec.serving.protocol import BoundedProtocol
from learec.serving.service import Service

BACKLOG = 2048  # connections that wait to be accepted
OWN_FILES = 64  # descriptors beside connections
MOST_CONNECTIONS = 65_536
# A burst of requests makes thousands of objects that go by themselves, so looking for cycles waits for more; but then it looks
# through all generations: of what is not frozen there is little, and connections that were cut off leave cycles.
GARBAGE = 10_000, 1, 1
SWITCH_SECONDS = 0.001  # how long one thread may keep the interpreter from the other
log = logging.getLogger("learec.serving")


@dataclass(frozen=True)
class ServeOptions:
    """How a run is served."""

    run_folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    agents: tuple[str, ...] = ()
    histories: str | None = None
    token: str | None = None
    max_waiting: int = 8192
    reload_seconds: float = 5.0


def serve(options: ServeOptions, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises LearecError if nothing can be served as asked."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log.setLevel(logging.INFO)
    listener = _bound(options.host, options.port)
    histories = None if options.histories is None else open_histories(options.histories)
    service = Service(Models(options.run_folder, options.agents), histories, options.max_waiting)
    reloader = Reloader(service, options.reload_seconds)
    app = Door(make_app(service, token=options.token is not None, lifespan=reloader.lifespan), service, options.token)
    config = uvicorn.Config(
        app, loop="uvloop", http=BoundedProtocol, ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, date_header=False, proxy_headers=False, backlog=BACKLOG, timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=int(DRAIN_SECONDS), limit_concurrency=_most_connections(),
    )  # fmt: skip
    _tell(options, service, listener, say)
    _settle_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    Server(config, service, reloader).run(sockets=[listener])


def _tell(options: ServeOptions, service: Service, listener: socket.socket, say: Callable[[str], None]) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    for model in service.models.now.listed:
        say(f"{model.name} version {model.version}{', default' if model.default else ''}")
    for refused in service.models.now.refused:
        say(f"not served: {refused.reason}")
    if service.histories is not None:
        say(f"histories of users: {service.histories.described}")
    if options.token is None and options.host not in ("127.0.0.1", "::1", "localhost"):
        say("anyone who reaches this port may ask it; --token-file asks for a token")
    say(f"serving {options.run_folder} at http://{host}:{listener.getsockname()[1]} (API: /docs); Ctrl-C stops it")


class Reloader:
    """Looks for new versions in the run folder, now and then and on SIGHUP."""

    def __init__(self, service: Service, seconds: float) -> None:
        """0 seconds: on SIGHUP alone."""
        self._service, self._seconds = service, seconds
        self._now = asyncio.Event()

    def look_now(self) -> None:
        """For SIGHUP."""
        self._now.set()

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Look while the application lives; then close what it used."""
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(self._service.close)

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), self._seconds or None)
            self._now.clear()
            try:
                await asyncio.to_thread(self._look)
            except Exception:
                log.exception("looking for new models failed; what was loaded goes on")

    def _look(self) -> None:
        """In a thread of its own: loading takes seconds."""
        models, metrics = self._service.models, self._service.metrics
        found = models.refresh()
        for one in found:
            metrics.reloads.labels("refused" if isinstance(one, Refused) else "loaded").inc()
            if isinstance(one, Refused):
                log.warning("refused, the model before it goes on: %s", one.reason)
            else:
                log.info("serving %s version %s from now on", one.name, one.version)
        metrics.serving(models.now.listed, len(models.now.refused))
        if found:
            _settle_memory()


class Server(uvicorn.Server):
    """uvicorn with our signals: SIGTERM and Ctrl-C drain and exit with 0, SIGHUP looks for new models."""

    def __init__(self, config: uvicorn.Config, service: Service, reloader: Reloader) -> None:
        super().__init__(config)
        self._service, self._reloader = service, reloader

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Instead of uvicorn's, which raise the signal again after the drain."""
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self._drain)
        loop.add_signal_handler(signal.SIGHUP, self._reloader.look_now)
        yield

    def _drain(self) -> None:
        self.force_exit = self.should_exit  # asked twice
        self.should_exit = self._service.draining = True


def read_token(file: Path | None, environment: str | None) -> str | None:
    """The token of a file, or else of the environment; None for none. Raises ConfigError for one that no header can carry."""
    token, where = environment, "LEAREC_TOKEN"
    if file is not None:
        try:
            token, where = file.read_text(encoding="utf-8").strip(), f"--token-file {file}"
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--token-file {file}: cannot be read ({error}); name a text file with the token") from None
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"{where}: wanted one line of letters, digits and signs without spaces; put a long random text there")
    return token


def _bound(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet: what connects before the models are loaded is refused, not kept waiting."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); name another") from None
    listener.setblocking(False)
    return listener


def _most_connections() -> int:
    """No more than there are file descriptors for, after asking for as many as the system gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(max(files - OWN_FILES, 1), MOST_CONNECTIONS)


def _settle_memory() -> None:
    """Models and catalogs stay: the garbage collector need not walk through their millions of objects again."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
