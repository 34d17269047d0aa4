"""An overview in Prometheus' text format, under the names of metrics.py."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from connector import metrics, tally
from connector.metrics import Metric
from connector.overview import Overview, of

# Metric: the kind of count whose subject and outcome are its two labels.
COUNTED = {
    metrics.RECEIVED: tally.RECEIVED,
    metrics.SIGNATURES: tally.SIGNATURE,
    metrics.SIGNATURE_AGES: tally.SIGNATURE_AGE,
    metrics.UNKNOWN_EVENTS: tally.UNKNOWN_EVENT,
    metrics.DELIVERIES: tally.DELIVERED,
    metrics.ATTEMPTS: tally.ATTEMPTED,
}


def exposition(overview: Overview) -> bytes:
    """The whole text."""
    registry = CollectorRegistry()
    registry.register(_OverviewCollector(overview))
    return generate_latest(registry)


class _OverviewCollector(Collector):
    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def collect(self) -> Iterable[Family]:
        yield from self._counters()
        yield self._answer_seconds()
        yield from self._backlogs()
        yield from self._states()

    def _counters(self) -> Iterator[Family]:
        counts = sorted(self._overview.counts.items())
        for metric, kind in COUNTED.items():
            family = CounterMetricFamily(metric.name, metric.sentence, labels=metric.labels)
            for (its_kind, subject, outcome), number in counts:
                if its_kind == kind:
                    family.add_metric([subject, outcome], number)
            yield family
        rejected = metrics.REJECTED_KEYS
        family = CounterMetricFamily(rejected.name, rejected.sentence, labels=rejected.labels)
        for outcome in ("missing", "unknown"):
            family.add_metric([outcome], self._overview.counts.get((tally.REJECTED, "", outcome), 0))
        yield family

    def _answer_seconds(self) -> Family:
        metric = metrics.ANSWER_SECONDS
        family = HistogramMetricFamily(metric.name, metric.sentence, labels=metric.labels)
        for source in self._overview.sources:
            by_bucket = of(self._overview.counts, tally.ANSWER_TIME, source.name)
            micros = self._overview.counts.get((tally.ANSWER_TIME_SUM, source.name, "sum"), 0)
            buckets: list[tuple[str, float]] = []
            total = 0
            for label in tally.ANSWER_LABELS:
                total += by_bucket.get(label, 0)
                buckets.append((label, total))
            family.add_metric([source.name], buckets, sum_value=micros / 1_000_000)
        return family

    def _backlogs(self) -> Iterator[Family]:
        waiting, retrying = _gauge(metrics.BACKLOG_WAITING), _gauge(metrics.BACKLOG_RETRYING)
        dead, oldest = _gauge(metrics.DEAD_LETTERS), _gauge(metrics.BACKLOG_OLDEST_SECONDS)
        for destination in self._overview.destinations:
            for source, backlog in destination.by_source.items():
                labels = [destination.name, source]
                waiting.add_metric(labels, backlog.waiting)
                retrying.add_metric(labels, backlog.retrying)
                dead.add_metric(labels, backlog.dead)
                age = (self._overview.at - backlog.oldest_at).total_seconds() if backlog.oldest_at else 0.0
                oldest.add_metric(labels, max(0.0, age))
        yield from (waiting, retrying, dead, oldest)

    def _states(self) -> Iterator[Family]:
        overview = self._overview
        states = _gauge(metrics.DESTINATION_STATE)
        for destination in overview.destinations:
            states.add_metric([destination.name, destination.state], 1)
        yield states
        refused = _gauge(metrics.CONFIGURATION_REFUSED)
        refused.add_metric([], 0 if overview.refusal is None else 1)
        yield refused
        unreadable = _gauge(metrics.UNREADABLE_FACTS)
        unreadable.add_metric([], len(overview.unreadable))
        yield unreadable
        if overview.disk_free_bytes is not None:
            free = _gauge(metrics.DISK_FREE_BYTES)
            free.add_metric([], overview.disk_free_bytes)
            yield free


def _gauge(metric: Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.sentence, labels=metric.labels)
