"""What a film costs on a cluster: processor time of its nodes, and of the machine that gives the command.

python benchmarks/cluster.py RUN FILMS... [--cluster HOST:PORT]

Reads the films through, as `hilum data build --cluster`, predicts them, as `hilum predict --cluster`, and prints for
both the processor time per film, which does not depend on what else the machines do, and what ten million films need.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hilum.predict.films import films_of
from hilum.scale import films as on_films
from hilum.scale.connect import connected

MANY = 10_000_000


def counted(job: Callable[..., Any], item: Any, tell: Callable[[Any], None]) -> Any:
    """job(item, tell), which then tells the processor seconds that a film took, all of it in this process."""
    from hilum.image import workers

    workers.FEW = MANY
    before = time.process_time()
    found = job(item, tell)
    tell(f"seconds {(time.process_time() - before) / len(found)}")
    return found


def measured(what: str, films: int, work: Callable[[], object]) -> None:
    """Do the work, and print its cost. What the units tell is taken from `map_units`."""
    seconds: list[float] = []
    given = on_films.map_units

    def listening(cluster: Any, job: Any, items: Any, *, name: Any, hear: Any = lambda *_: None) -> Any:
        def heard(index: int, said: str) -> None:
            seconds.append(float(said.split()[1])) if said.startswith("seconds ") else hear(index, said)

        return given(cluster, partial(counted, job), items, name=name, hear=heard)

    on_films.map_units = listening
    start, before = time.monotonic(), time.process_time()
    work()
    wall, here = time.monotonic() - start, time.process_time() - before
    on_films.map_units = given
    ms = 1000 * statistics.median(seconds)  # the first unit of a process makes the network ready
    print(
        f"{what}: {films} films in {wall:.1f} s; on the nodes {ms:.2f} ms of one core a film, here "
        f"{1000 * here / films:.2f} ms; ten million films: {ms * MANY / 3.6e6:,.0f} core hours, here "
        f"{here / films * MANY / 3600:,.1f} h"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("films", type=Path, nargs="+")
    parser.add_argument("--cluster", default="local")
    asked = parser.parse_args()
    files = films_of(asked.films)
    with tempfile.TemporaryDirectory() as cache, connected(asked.cluster):
        import ray

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        os.environ["HILUM_CACHE"] = cache  # nothing is remembered from before
        on_films.TOGETHER = 64
        measured("reading", len(files), lambda: on_films.read_films(files))
        measured("predicting", len(files), lambda: on_films.predict(asked.run, files))


if __name__ == "__main__":
    main()
