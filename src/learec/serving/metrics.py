"""What the service counts, as Prometheus text."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from learec.serving.messages import ListedModel

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All of them in a registry of their own."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        """`waiting` tells how many histories wait for the model."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asks for
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter("learec_requests", "Answered requests", ["route", "status"], registry=registry)
        self._seconds = Histogram("learec_request_seconds", "Until the reply", ["route"], registry=registry, buckets=SECONDS)
        self.passes = Histogram("learec_pass_histories", "Histories in a pass", registry=registry, buckets=SIZES)
        self.unknown = Counter("learec_unknown_items", "Items of histories that the model does not know", registry=registry)
        self.fallbacks = Counter("learec_fallbacks", "Answers with the most popular items", registry=registry)
        self.events = Counter("learec_events", "Events that were kept", registry=registry)
        self.reloads = Counter("learec_reloads", "Models loaded since the start, or refused", ["result"], registry=registry)
        self._refused = Gauge("learec_refused_models", "Models refused and not mended since", registry=registry)
        self._models = Gauge("learec_model_info", "Served models", ["name", "version", "default"], registry=registry)
        Gauge("learec_waiting_histories", "Histories that wait for the model", registry=registry).set_function(waiting)

        self._of_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One reply. Routes are those of the API, never paths as they were asked for."""
        found = self._of_route.get((route, status))
        if found is None:
            found = self._requests.labels(route, status), self._seconds.labels(route)
            self._of_route[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def serving(self, models: list[ListedModel], refused: int) -> None:
        """These models are served from now on."""
        self._models.clear()
        for model in models:
            self._models.labels(model.name, model.version, str(model.default).lower()).set(1)
        self._refused.set(refused)

    def text(self) -> bytes:
        """As GET /metrics answers."""
        return generate_latest(self._registry)
