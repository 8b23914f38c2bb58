"""A coverage-guided fuzzer over one target: ``python -m tests.fuzz TARGET SECONDS``.

What it finds is left in the current directory as ``crash-...``; what it learns is kept in the corpus.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

MOST_MEMORY = 2048  # MiB
SLOWEST = 10  # seconds for one input
LONGEST = 4096  # bytes


def main() -> None:
    """Fuzz, and end with a status that is not zero when anything but a LifeboatError came out."""
    import atheris

    name, seconds, *corpus = sys.argv[1:]
    instrumented = ("lifeboat.", "pyzipper", "yaml", "json", "zipfile")
    with atheris.instrument_imports(include=list(instrumented)):
        targets = importlib.import_module("tests.fuzz.targets")
    folders = corpus or [str(Path(__file__).parent / "corpus" / name)]
    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MOST_MEMORY}", f"-timeout={SLOWEST}"]
    atheris.Setup(
        [sys.argv[0], *limits, f"-max_len={LONGEST}", "-verbosity=0", "-print_final_stats=1", *folders],
        targets.TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
