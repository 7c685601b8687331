"""Sources by name: `READER:PATH?option=value&option=value`, or a bare path whose layout is recognised."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pandas as pd

from hilum.data.manifest import conform
from hilum.data.readers import (
    cohen,
    covidx,
    csv,
    darkcovidnet,
    dicom,
    figure1,
    folder,
    kaggle_covid19_pneumonia,
    kermany,
    manifest_file,
    rsna,
)
from hilum.data.readers.common import absent, empty_table, header_of, is_film, left_out
from hilum.errors import DataError, HilumError, RequestError
from hilum.recipe.load import nearest

# In the order in which a bare path's layout is tried, the most particular first. Each is a module with `read`,
# `recognises`, `OPTIONS`, and the collection's data sheet as its docstring.
READERS: Mapping[str, ModuleType] = {
    "manifest": manifest_file,
    "kaggle-covid19-pneumonia": kaggle_covid19_pneumonia,
    "kermany": kermany,
    "darkcovidnet": darkcovidnet,
    "cohen": cohen,
    "figure1": figure1,
    "rsna": rsna,
    "covidx": covidx,
    "csv": csv,
    "dicom": dicom,
    "folder": folder,
}
# Whose source is named after a folder or table of the user's, so that two of one name are two sources.
_OWN = ("csv", "dicom", "folder")


@dataclass(frozen=True)
class Source:
    """One source as asked for."""

    reader: str
    path: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.reader}:{self.path}"


def parse(text: str | Path) -> Source:
    """The source that a text names.

    `READER:PATH` with a reader of `READERS`; or a bare path, recognised by its layout. After a question mark stand
    options, `name=value`, separated by `&`; values are taken as they are, so a regular expression may hold a question
    mark itself. Refused with RequestError: an unknown reader or option (the nearest is named), a bare path that is not
    there or is laid out in no known way.

    >>> source = parse("folder:films?patient=(?P<patient>[^_]+)_&name=ward-3")
    >>> source.reader, source.path.as_posix(), source.options["patient"], source.options["name"]
    ('folder', 'films', '(?P<patient>[^_]+)_', 'ward-3')
    """
    text = str(text)
    reader, colon, rest = text.partition(":")
    if colon and reader in READERS:
        path, options = _options(rest)
    elif colon and len(reader) > 1 and "/" not in reader and not Path(_options(text)[0]).exists():
        raise RequestError(f"there is no reader {reader!r}", where=text, next_step=nearest(reader, READERS))
    else:
        path, options = _options(text)
        table = Path(path).expanduser()
        reader = "csv" if options and csv.is_table(table) and table.is_file() else _recognised(table)
    if not path:
        raise RequestError(f"the reader {reader!r} needs a path", where=text, next_step=f"Write {reader}:PATH")
    known = READERS[reader].OPTIONS
    for name in options:
        if name not in known:
            raise RequestError(
                f"the reader {reader!r} has no option {name!r}",
                where=text,
                next_step=nearest(name, known) if known else "It has none.",
            )
    return Source(reader, Path(path).expanduser(), options)


def _options(text: str) -> tuple[str, dict[str, str]]:
    """Path and options; a question mark that no option follows belongs to the path."""
    path, *rest = re.split(r"\?(?=[a-z_]+=)", text, maxsplit=1)
    pairs = re.split(r"&(?=[a-z_]+=)", rest[0]) if rest else []
    return path, dict(pair.split("=", 1) for pair in pairs)


def _recognised(path: Path) -> str:
    if not path.exists():
        raise absent(path)
    for name, module in READERS.items():
        if module.recognises(path):
            if name == "folder":
                _refuse_a_folder_of_collections(path)
            return name
    if path.is_file():
        raise _no_source(path)
    if not any(path.iterdir()):
        raise RequestError("the folder is empty", where=str(path), next_step="Name a folder of films.")
    raise RequestError(
        "its layout is not recognised; a folder of films has a folder per class (CLASS/film.png, or "
        f"train/CLASS/film.png), or only DICOM files, or is one of: {', '.join(list(READERS)[1:8])}",
        where=str(path),
        next_step=f"Say what it is, as in: folder:{path}",
    )


def _no_source(path: Path) -> HilumError:
    """The error for a file that is no source."""
    if is_film(path):
        what, next_step = "this is one film, and a source is a folder or table", "Name the folder above it."
    elif not csv.is_table(path):
        what, next_step = "this file is no source", "Name a folder of films, a table (.csv, .tsv) or a manifest."
    elif not any(columns := header_of(path)):
        return empty_table(path)
    else:
        what = f"this table has no columns path and label; the columns are {', '.join(columns)}"
        next_step = f"Say which they are, as in: '{path}?path=COLUMN&label=COLUMN'"
    return RequestError(what, where=str(path), next_step=next_step)


def _refuse_a_folder_of_collections(path: Path) -> None:
    """Collections side by side are no class folders, though they look like it."""
    public = [name for name in READERS if name not in (*_OWN, "manifest")]
    inside = [entry for entry in sorted(path.iterdir()) if entry.is_dir()]
    found = [f"{name}:{entry}" for entry in inside for name in public if READERS[name].recognises(entry)]
    if found:
        raise RequestError(
            "this folder holds collections, not classes",
            where=str(path),
            next_step=f"Name those that are meant: {' '.join(found)}",
        )


def read(*sources: str | Path) -> pd.DataFrame:
    """One manifest of all the sources, with what the readers left out in `attrs["left_out"]`, a list of (what, count).

    `attrs["read_from"]` says how many rows are of which source, as (source, rows) in the rows' order.

    A film that two sources name stays once, and is counted. Two of the user's own sources with one name become two
    (`films`, `films-2`), with patients of their own, unless `name=` says that they are one; where only image ids meet,
    as with two copies of a public collection, only the ids are numbered: its patients are the same people.

    Refused with RequestError: what `parse` and the readers refuse, no source at all. Refused with DataError: what the
    readers refuse, a film that two sources give different labels, two manifests with different films of one id.
    """
    if not sources:
        raise RequestError("no source was named", next_step="Name one, as in: kermany:PATH or folder:PATH")
    asked = [parse(source) for source in sources]
    manifests = [READERS[source.reader].read(source.path, **source.options) for source in asked]
    told = [
        (f"{source}: {what}" if len(asked) > 1 else what, count)
        for source, manifest in zip(asked, manifests, strict=True)
        for what, count in left_out(manifest)
    ]
    rows = [(str(source), len(manifest)) for source, manifest in zip(asked, manifests, strict=True)]
    if len(manifests) > 1:
        manifests, twice = _without_films_named_before(manifests)
        told += [
            (f"{source}: films that an earlier source names", n) for source, n in zip(asked, twice, strict=True) if n
        ]
        rows = [(name, count - n) for (name, count), n in zip(rows, twice, strict=True)]
        manifests = _with_ids_of_their_own(asked, manifests)
    merged = manifests[0] if len(manifests) == 1 else conform(_joined(manifests), where="the merged sources")
    merged.attrs["left_out"] = told
    merged.attrs["read_from"] = rows
    return merged


def _joined(manifests: list[pd.DataFrame]) -> pd.DataFrame:
    # A column that is missing throughout says nothing about the type, and pandas warns that it will come to matter.
    filled = [manifest.dropna(axis="columns", how="all") for manifest in manifests if len(manifest)]
    for manifest in filled:
        manifest.attrs = {}
    columns = dict.fromkeys(name for manifest in manifests for name in manifest.columns)
    joined = pd.concat(filled, ignore_index=True)
    for name in columns:
        if name not in joined:
            joined[name] = pd.NA
    return joined[list(columns)]


def _without_films_named_before(manifests: list[pd.DataFrame]) -> tuple[list[pd.DataFrame], list[int]]:
    """The manifests without the rows of files that an earlier one has, and how many each lost."""
    seen: dict[str, tuple[str, str | None]] = {}
    kept, lost = [], []
    for manifest in manifests:
        files = [os.path.abspath(path) for path in manifest["path"]]  # noqa: PTH100 - thousands of them, and no links followed
        labels = [None if pd.isna(label) else str(label) for label in manifest["label"]]
        again = [file in seen for file in files]
        for file, image_id, label in zip(files, manifest["image_id"], labels, strict=True):
            before, said = seen.setdefault(file, (image_id, label))
            if None not in (said, label) and said != label:
                raise DataError(
                    f"two sources differ on one film: {before} is {said!r} and {image_id} is {label!r}",
                    where=file,
                    next_step="Leave one of the sources out.",
                )
        kept.append(manifest[[not is_again for is_again in again]])
        lost.append(sum(again))
    return kept, lost


def _with_ids_of_their_own(asked: list[Source], manifests: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """The same rows with image ids that no two share; see `read` for what else is numbered."""
    names: set[str] = set()
    ids: set[str] = set()
    out = []
    for source, manifest in zip(asked, manifests, strict=True):
        if len(manifest) == 0:
            continue
        name = str(manifest["image_id"].iloc[0]).split("/")[0]
        meet = set(manifest["image_id"]) & ids
        if source.reader == "manifest" and meet:
            raise DataError(
                f"image_id {min(meet)!r} stands in an earlier source too, for another file",
                where=str(source.path),
                next_step="Give the images different ids in one of the manifests.",
            )
        own = source.reader in _OWN and "name" not in source.options and name in names
        if own or meet:
            new = next(f"{name}-{n}" for n in range(2, len(asked) + 2) if f"{name}-{n}" not in names)
            manifest = _renamed(manifest, name, new, ("image_id", "patient_id", "source") if own else ("image_id",))
            name = new
        names.add(name)
        ids |= set(manifest["image_id"])
        out.append(manifest)
    return out


def _renamed(manifest: pd.DataFrame, old: str, new: str, columns: tuple[str, ...]) -> pd.DataFrame:
    pattern = f"^{re.escape(old)}(?=/|$)"
    return manifest.assign(
        **{name: manifest[name].str.replace(pattern, new.replace("\\", r"\\"), regex=True) for name in columns}
    )
