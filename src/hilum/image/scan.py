"""A table of what many files are, read in parallel and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from hilum.image.facts import Facts, FileKey, facts_of, facts_store, key_of, reason
from hilum.image.workers import map_films
from hilum.progress import SILENT, Progress

_SAVED_TOGETHER = 256
_DTYPES = {"width": "Int64", "height": "Int64", "bits": "Int64"}


def scan(paths: Sequence[Path], *, workers: int | None = None, progress: Progress = SILENT) -> pd.DataFrame:
    """A row per path, in order: path, width, height, bits, mode, format, sha256, phash, phash_sizes, error.

    `error` says why a file is no film and is missing where it is one; one bad file never stops the others. sha256 is of
    the file's bytes and is there for every file that could be read.
    workers: processes that decode; None is one per core.
    What is found is remembered by absolute path, size and time of change, in facts.sqlite of the cache folder.
    """
    keys = [key_of(path) for path in paths]
    # One path may stand there twice; files that are absent have no key and are looked at last, for their error.
    distinct: dict[FileKey, Path] = {key: path for key, path in zip(keys, paths, strict=True) if key is not None}
    with facts_store() as store:
        known = store.remembered(distinct)
        new = [key for key in distinct if key not in known]
        fresh: dict[FileKey, Facts] = {}
        try:
            with progress.task("reading films", total=len(new)) as advance:
                for index, facts in map_films(facts_of, [distinct[key] for key in new], workers=workers):
                    key = new[index]
                    known[key] = fresh[key] = facts if isinstance(facts, Facts) else Facts(error=reason(facts))
                    advance(1)
                    if len(fresh) >= _SAVED_TOGETHER:
                        store.remember(fresh)
                        fresh = {}
        finally:
            store.remember(fresh)  # also what was read before Ctrl-C
    found = [facts_of(path) if key is None else known[key] for key, path in zip(keys, paths, strict=True)]
    return _table(paths, found)


def _table(paths: Sequence[Path], found: list[Facts]) -> pd.DataFrame:
    columns: dict[str, pd.Series] = {"path": pd.Series([str(path) for path in paths], dtype="string")}
    for field in fields(Facts):
        values = [getattr(facts, field.name) for facts in found]
        columns[field.name] = pd.Series(values, dtype=_DTYPES.get(field.name, "string"))
    return pd.DataFrame(columns)
