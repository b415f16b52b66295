"""Reads an HdrHistogram log with the Python implementation and prints what it found, one JSON object a distribution."""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

PERCENTILES = [50.0, 90.0, 99.0, 99.9, 100.0]

reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3_600_000_000_000, 3))
while (histogram := reader.get_next_interval_histogram()) is not None:
    print(json.dumps({
        "tag": histogram.get_tag(),
        "count": histogram.get_total_count(),
        "percentiles": [histogram.get_value_at_percentile(percent) for percent in PERCENTILES],
        "mean": histogram.get_mean_value(),
    }))
