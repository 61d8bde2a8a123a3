"""What running many cases costs: time and memory of ``policy test`` with the embedded classifier: ``make bench-cases``.

The cases are made of sentences of our own challenge set, each text another one; every twentieth has a completion, too, which
is replayed as five streams. Memory is the largest of any one process, as the kernel counted it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from random import Random

from safety_proxy.classifiers.embedded.rows import CHALLENGE, read_rows

_ANYTHING = {"categories": {"hate": {"min_severity": 0}}}
"""Whatever is decided: time is measured here, not the policy."""
_WITH_COMPLETION = 20


def lines(count: int, seed: int = 1) -> Iterator[str]:
    """*count* cases as JSON Lines."""
    random = Random(seed)  # noqa: S311 - the same cases for everybody
    challenge = Path(str(resources.files("safety_proxy.classifiers.embedded").joinpath("authored", CHALLENGE)))
    sentences = [row.text for row in read_rows(challenge) if len(row.text) < 200]  # noqa: PLR2004 - sentences, not pages
    for number in range(count):
        case: dict[str, object] = {
            "text": f"{' '.join(random.sample(sentences, 2))} ({number})",
            "expect": {"input": _ANYTHING},
        }
        if number % _WITH_COMPLETION == 0:
            case["completion"] = " ".join(random.sample(sentences, 8))
            case["expect"] = {"input": _ANYTHING, "output": _ANYTHING}
        yield json.dumps(case)


def measure(count: int, jobs: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds of all processes, and MiB of the largest."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "cases.jsonl")
        with file.open("w", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in lines(count))
        command = [
            sys.executable,
            "-m",
            "safety_proxy",
            "policy",
            "test",
            "default",
            "--cases",
            str(file),
            "--jobs",
            str(jobs),
        ]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, after.ru_maxrss / 1024


def main() -> None:
    """Print the figures."""
    counts = [int(each) for each in sys.argv[1:]] or [1_000, 10_000, 100_000]
    print("cases     processes   seconds   CPU seconds   MiB of the largest process")
    for count in counts:
        for jobs in (1, 2):
            took, cpu, size = measure(count, jobs)
            print(f"{count:<10}{jobs:>9}{took:>10.1f}{cpu:>14.1f}{size:>29.0f}")


if __name__ == "__main__":
    main()
