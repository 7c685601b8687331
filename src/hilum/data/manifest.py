"""The manifest: a table with a row per image, and what is known about it. Unknown is missing, never made up.

Columns that a source has more (modality, body_part, finding, vendor, ...) stand after the ones below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa

from hilum.data.lines import row_name
from hilum.errors import DataError, RequestError
from hilum.files import whole_file

# name: (pandas dtype, meaning). The order is the order in the file.
COLUMNS: Mapping[str, tuple[str, str]] = {
    "image_id": ("string", "unique: the source's name, a slash, the path inside the source"),
    "path": ("string", "the file, absolute or relative to the working folder"),
    "label": ("string", "the source's fine meaning: covid-19, pneumonia/bacterial, pneumonia/viral, normal, ..."),
    "patient_id": ("string", "the source's name, a slash, the patient; missing where the source does not tell"),
    "source": ("string", "the collection, or the hospital where a collection tells it"),
    "view": ("string", "PA, AP, AP supine, lateral, ..."),
    "sex": ("string", "F or M"),
    "age_years": ("Float64", "age at the examination"),
    "offset_days": ("Float64", "days since the first symptom or admission, as the source counts"),
    "split": ("string", "the published part: train, validation or test"),
    "width": ("Int64", "of the file, in pixels"),
    "height": ("Int64", "of the file, in pixels"),
    "bits": ("Int64", "stored bits of one grey value"),
    "mode": ("string", "colour: L, RGB, RGBA, P, CMYK, I;16, MONOCHROME1, ..."),
    "format": ("string", "png, jpeg, dicom, bmp, tiff or webp"),
    "sha256": ("string", "of the file's bytes, hexadecimal"),
    "phash": ("string", "perceptual hash for near duplicates, hexadecimal"),
    "phash_sizes": ("string", "what is needed beside phash to find crops of the film; without it they are not found"),
    # Written by the split, and absent before it:
    "part": ("string", "train, validation or test"),
    "fold": ("Int64", "0 to folds - 1"),
    "class": ("string", "what the task makes of the label"),
}
_KINDS = {"string": "text", "Float64": "numbers", "Int64": "whole numbers"}
_ROWS_TOGETHER = 1 << 16  # in the file: what is read at a time, so that little more than the table is held
REQUIRED = ("image_id", "path", "label", "source")
PARTS = ("train", "validation", "test")


def conform(
    frame: pd.DataFrame, *, where: str = "manifest", name_of_row: Callable[[int], str] | None = None
) -> pd.DataFrame:
    """The same rows with every column of the manifest present, in order and of its type; extra columns kept after them.

    name_of_row: says in an error where row 0, 1, ... stands; else by its number, from 0.

    Refused with DataError: a missing required column, an image_id twice, an empty image_id, path or source, a
    value that does not fit its column's type. A missing label is allowed: a task leaves such rows out and counts them.

    >>> films = pd.DataFrame({"image_id": ["a/1.png"], "path": ["1.png"], "label": ["normal"], "source": ["a"]})
    >>> conform(films)["patient_id"].isna().all()
    np.True_
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(
            f"the column {missing[0]!r} is missing; the columns are {', '.join(map(str, frame.columns))}",
            where=where,
            next_step="Name it with the csv reader's mapping, or add it to the table.",
        )
    out: dict[str, pd.Series] = {}
    for name, (dtype, _) in COLUMNS.items():
        if name in frame.columns:
            try:
                out[name] = frame[name].astype(pd.api.types.pandas_dtype(dtype))
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"column {name!r} does not hold {_KINDS[dtype]}: {error}",
                    where=where,
                    next_step="Mend the column, or leave it out.",
                ) from None
        elif name not in ("part", "fold", "class"):
            out[name] = pd.Series(pd.NA, index=frame.index, dtype=dtype)
    for name in frame.columns:
        if name not in COLUMNS:
            out[str(name)] = frame[name]
    result = pd.DataFrame(out).reset_index(drop=True)
    _check_values(result, name_of_row or (lambda row: f"{where} row {row}"))
    return result


def _check_values(manifest: pd.DataFrame, name_of_row: Callable[[int], str]) -> None:
    for name in ("image_id", "path", "source"):
        empty = manifest[name].isna() | (manifest[name].str.len() == 0)
        if empty.any():
            raise DataError(
                f"{name} is empty",
                where=name_of_row(int(empty.to_numpy().argmax())),
                next_step="Fill it in, or remove the row.",
            )
    twice = manifest["image_id"].duplicated()
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise DataError(
            f"image_id {manifest['image_id'].iloc[row]!r} stands there twice",
            where=name_of_row(row),
            next_step="Remove one of the rows, or give them different ids.",
        )
    for name in ("part", "split"):
        if name in manifest:
            strange = manifest[name].notna() & ~manifest[name].isin(PARTS)
            if strange.any():
                row = int(strange.to_numpy().argmax())
                raise DataError(
                    f"{name} {manifest[name].iloc[row]!r} is not one of {', '.join(PARTS)}",
                    where=name_of_row(row),
                    next_step="Write one of them, or leave it empty.",
                )


def write_manifest(manifest: pd.DataFrame, path: Path | str) -> None:
    """Write it whole or not at all, as Parquet, or as CSV where the name ends so."""
    path = Path(path)
    manifest = conform(manifest, where=str(path))
    with whole_file(path) as part:
        if path.suffix.lower() == ".csv":
            manifest.to_csv(part, index=False)
        else:
            manifest.to_parquet(part, index=False, row_group_size=_ROWS_TOGETHER)


def read_manifest(path: Path | str) -> pd.DataFrame:
    """Read a manifest written by `write_manifest`; a missing or broken file is refused with its name."""
    path = Path(path)
    if not path.is_file():
        raise RequestError("there is no such manifest", where=str(path), next_step="Make one with: hilum data build")
    text = path.suffix.lower() == ".csv"
    try:
        # pre_buffer would hold the whole file beside the table: of a million films with fingerprints another 0.9 GB.
        frame = pd.read_csv(path, dtype_backend="numpy_nullable") if text else pd.read_parquet(path, pre_buffer=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"this is no manifest: {error}", where=str(path), next_step="Make it again with: hilum data build"
        ) from None
    pa.default_memory_pool().release_unused()
    return conform(frame, where=str(path), name_of_row=(lambda row: row_name(path, row)) if text else None)
