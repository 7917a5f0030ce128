"""What Prometheus reads of a service."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tasks.serve.line import LINE_FIGURES

__all__ = ["Metrics"]


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter("irp_requests", "Requests for scores, by status", ["status"], registry=registry)
        self.images = Counter(
            "irp_images", "Images, by decision (normal, anomalous, error)", ["decision"], registry=registry
        )
        self.scores = Histogram(
            "irp_score_over_threshold",
            "Scores as shares of the threshold: above 1 is an alarm",
            buckets=(0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0),
            registry=registry,
        )
        self.latency = Histogram(
            "irp_latency_seconds",
            "From a request that has arrived whole to its answer",
            buckets=(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
            registry=registry,
        )
        self.model = Gauge("irp_model", "1 for the model that answers", ["model"], registry=registry)
        self.loaded = Gauge("irp_model_loaded_timestamp_seconds", "When it was taken into service", registry=registry)
        self.threshold = Gauge("irp_model_threshold", "Its threshold", registry=registry)
        self.registry_reached = Gauge(
            "irp_registry_reached", "Whether the registry answered last time", registry=registry
        )
        self.version = Gauge("irp_model_version", "Its number in the registry", ["model"], registry=registry)
        self.line = {name: Gauge(name, said, ["line"], registry=registry) for name, said in LINE_FIGURES.items()}
        self.waiting = Gauge("irp_images_waiting", "Images that wait to be scored", registry=registry)

    def set_line(self, line: str, figures: Mapping[str, float]) -> None:
        """What is known of the line that the model belongs to (`tasks.serve.line`)."""
        for name, gauge in self.line.items():
            gauge.clear()
            if name in figures:
                gauge.labels(line).set(figures[name])

    def set_model(self, name: str) -> None:
        """The model that answers; a registered one is NAME/NUMBER."""
        for gauge in (self.model, self.version):
            gauge.clear()
        self.model.labels(name).set(1)
        registered, _, number = name.rpartition("/")
        if number.isdigit() and "/" not in registered and registered:
            self.version.labels(registered).set(int(number))

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
