"""The docs and the code name the same metrics."""

import re

from connector.metrics import METRICS
from tests.docs_metrics import metrics_table
from tests.docs_tables import ROOT, is_up_to_date

SERIES = {metric.name + suffix for metric in METRICS for suffix in ("", "_bucket", "_sum", "_count", "_total")}


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    assert is_up_to_date("docs/metrics.md", metrics_table()), "run: python -m tests.regenerate_docs"


def test_no_page_names_a_metric_that_does_not_exist() -> None:
    for path in (ROOT / "docs").rglob("*.md"):
        named = set(re.findall(r"\bconnector_[a-z_]+\b", path.read_text(encoding="utf-8")))

        assert named <= SERIES, path.name
