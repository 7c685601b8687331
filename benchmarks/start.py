"""Seconds until `import hilum` and `hilum --help` are done, in a fresh process: the median of 15.

python benchmarks/start.py
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import hilum'": ["-c", "import hilum"],
    "hilum --help": ["-m", "hilum.cli.app", "--help"],
}


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for name, words in COMMANDS.items():
        taken = []
        for _ in range(15):
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - start)
        print(f"{name}: {statistics.median(taken):.2f} s")


if __name__ == "__main__":
    main()
