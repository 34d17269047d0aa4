"""The table of metrics in docs/metrics.md, made of connector/metrics.py."""

from connector.metrics import METRICS


def metrics_table() -> str:
    rows = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.sentence} |")
    return "\n".join(rows)
