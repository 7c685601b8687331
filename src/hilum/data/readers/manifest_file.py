"""A manifest that hilum wrote (`hilum data build`), Parquet or CSV, or a folder with manifest.parquet or manifest.csv.

It says itself what it holds. A relative path is looked for from the working folder, then from the manifest's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.manifest import REQUIRED, read_manifest
from hilum.data.readers.common import absent, header_of

NAME = "manifest"
OPTIONS: Mapping[str, str] = {}
_NAMES = ("manifest.parquet", "manifest.csv")


def recognises(path: Path) -> bool:
    """Whether it is a Parquet file, a CSV file with the columns that a manifest needs, or a folder that holds one."""
    if path.is_dir():
        return any(recognises(path / name) for name in _NAMES)
    if path.suffix.lower() == ".parquet":
        return path.is_file()
    return path.is_file() and path.suffix.lower() == ".csv" and set(REQUIRED) <= set(header_of(path))


def read(path: Path) -> pd.DataFrame:
    """The manifest as written; a missing or broken file is refused with its name."""
    if path.is_dir():
        path = next((path / name for name in _NAMES if (path / name).is_file()), path)
    if not path.is_file():
        raise absent(path, what="manifest")
    manifest = read_manifest(path)
    manifest["path"] = manifest["path"].map(lambda film: _found(film, path.parent)).astype("string")
    manifest.attrs["left_out"] = []
    return manifest


def _found(film: str, folder: Path) -> str:
    return film if Path(film).is_absolute() or Path(film).exists() else str(folder / film)
