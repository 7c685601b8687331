"""A manifest that hilum wrote (`hilum data build`), as Parquet or CSV; it says itself what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.manifest import REQUIRED, read_manifest
from hilum.data.readers.common import absent, header_of

NAME = "manifest"
OPTIONS: Mapping[str, str] = {}


def recognises(path: Path) -> bool:
    """Whether it is a Parquet file, or a CSV file with the columns that a manifest needs."""
    if path.suffix.lower() == ".parquet":
        return path.is_file()
    return path.suffix.lower() == ".csv" and set(REQUIRED) <= set(header_of(path))


def read(path: Path) -> pd.DataFrame:
    """The manifest as written; a missing or broken file is refused with its name."""
    if not path.is_file():
        raise absent(path, what="manifest")
    manifest = read_manifest(path)
    manifest.attrs["left_out"] = []
    return manifest
