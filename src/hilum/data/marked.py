"""Films on which people drew the lungs: pairs.csv with a film and its mask in each row.

Layout      pairs.csv: `image` and `mask`, paths relative to the file's folder or to the folder above it; a mask has
            its film's size, 0 outside and 255 inside. Further columns, each where known: `class` (which becomes the
            label), `patient_id`, `source`, and others, which are kept.
Patients    from `patient_id`; where the table has none, from the collections that the films come from, which are read
            where they lie beside the masks: kermany tells patients by names, cohen by its metadata.

`lung-masks`, for which this was written, holds 2008 films of v7labs/covid-19-xray-dataset (CC BY 4.0): 1580 of
Kermany's children and 428 of Cohen's adults with COVID-19. The lung includes its part behind the heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pandas as pd

from hilum.data.lines import row_name
from hilum.data.readers import cohen, kermany
from hilum.data.readers.common import finish, need_columns, need_file, need_folder, read_table
from hilum.errors import DataError

# By the first folder of a film's path, the collection that knows its patient.
_COLLECTIONS: Mapping[str, ModuleType] = {kermany.NAME: kermany, cohen.NAME: cohen}
_OF_THE_COLLECTION = ("patient_id", "source", "view", "sex", "age_years", "license")


def read_marked(folder: Path) -> pd.DataFrame:
    """The manifest of the marked films, with the column `mask`; `class` is the source, by which figures are told apart.

    Refused with RequestError: no pairs.csv. Refused with DataError: a film or mask that is not there, a film twice.
    """
    path = need_file(need_folder(folder) / "pairs.csv")
    table = read_table(path)
    need_columns(table, ("image", "mask"), where=str(path))
    rows = pd.DataFrame({"image_id": table["image"], "label": table.get("class", pd.Series(pd.NA, index=table.index))})
    for name in ("image", "mask"):
        rows["path" if name == "image" else name] = [
            str(_found(folder, relative, row_name(path, row)))
            for row, relative in zip(table.index, table[name], strict=True)
        ]
    rows["source"] = folder.absolute().name
    if "patient_id" not in table:
        rows = _with_collections(rows, table["image"])
    more = [name for name in table.columns if name not in ("image", "mask", "class")]
    manifest = finish(rows.assign(**{name: table[name] for name in more}), [], where=path)
    return manifest.assign(**{"class": manifest["source"]})


def _found(folder: Path, relative: object, where: str) -> Path:
    if isinstance(relative, str):
        for root in (folder, folder.parent):
            if (root / relative).is_file():
                return root / relative
    raise DataError(f"there is no file {relative!r}", where=where, next_step="Mend the path, or remove the row.")


def _with_collections(rows: pd.DataFrame, images: pd.Series) -> pd.DataFrame:
    """The rows with what the collections know of their films."""
    known = []
    top = images.str.split("/").str[0]
    for name, reader in _COLLECTIONS.items():
        if (top == name).any():
            path, image = rows.loc[top == name, "path"].iloc[0], images[top == name].iloc[0]
            manifest = reader.read(Path(path.removesuffix(image)) / name)
            known.append(manifest[["path", *(column for column in _OF_THE_COLLECTION if column in manifest)]])
    if not known:
        return rows
    joined = rows.merge(pd.concat(known), on="path", how="left", suffixes=("_of_pairs", ""))
    joined["source"] = joined["source"].fillna(joined.pop("source_of_pairs"))
    return joined.set_index(rows.index)
