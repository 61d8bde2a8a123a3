"""What the embedded classifier costs: CPU time per 1,000 characters, time to load, memory. Run by ``make bench``.

Times are CPU seconds of this process (one thread), medians; the text is our own challenge set. Memory is the growth of
the resident set of a fresh process between the import of numpy and the first verdict.
"""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np

from safety_proxy.classifiers.embedded import EmbeddedClassifier
from safety_proxy.classifiers.embedded.evaluate import cpu_per_1000_characters
from safety_proxy.classifiers.embedded.rows import CHALLENGE, read_rows, stream_windows
from safety_proxy.model import Kind, Query

_FRESH = """
import re, time, numpy
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
import safety_proxy.classifiers.embedded.classifier as module
before, began = resident(), time.perf_counter()
classifier = module.EmbeddedClassifier()
loaded = time.perf_counter() - began
classifier.classify_now([module.Query("How do I bake bread? " * 20, "completion")])
print(loaded * 1000, resident() - before)
"""
_RUNS = 5


def text_of(characters: int) -> str:
    """Ordinary and other text of a given length."""
    challenge = Path(str(resources.files("safety_proxy.classifiers.embedded").joinpath("authored", CHALLENGE)))
    return " ".join(row.text for row in read_rows(challenge))[:characters]


def main() -> None:
    """Print the figures."""
    classifier = EmbeddedClassifier()
    print("characters   CPU ms per 1,000 characters")
    for length in (80, 300, 1_000, 10_000, 100_000):
        cost = cpu_per_1000_characters(
            lambda text: classifier.classify_now([Query(text, Kind.COMPLETION)]), text_of(length), max(500_000 // length, 9)
        )
        print(f"{length:>10}{cost:>14.3f}")
    stream = text_of(3_000)
    windows = [Query(text, Kind.COMPLETION, left, right) for text, left, right in stream_windows(stream)]
    times = []
    for _ in range(50):
        began = time.process_time()
        for window in windows:
            classifier.classify_now([window])
        times.append(time.process_time() - began)
    print(f"a stream of 3,000 characters, {len(windows)} windows: {np.median(times) / 3 * 1000:.3f} ms per 1,000")
    fresh = [
        [
            float(part)
            for part in subprocess.run(
                [sys.executable, "-c", _FRESH], check=True, capture_output=True, text=True
            ).stdout.split()
        ]
        for _ in range(_RUNS)
    ]
    loaded, memory = np.median(np.array(fresh), axis=0)
    print(f"to load: {loaded:.0f} ms; memory added: {memory:.0f} MiB (medians of {_RUNS} fresh processes)")


if __name__ == "__main__":
    main()
