"""The predictions table: what a model said about each image. Everything that judges a model starts from it.

predictions.csv has a row per image and the columns

    image_id, patient_id, source, part, fold, label, predicted, p_<class>, p_<class>, ...

`label` is the class that is true and may be missing, `predicted` the class that was called, and the p_ columns hold one
probability per class, in the order of the classes. Another team's model joins with image_id, label and p_ columns
alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hilum.data.manifest import PARTS
from hilum.errors import DataError, RequestError
from hilum.evaluation.calibration import apply_temperature
from hilum.evaluation.metrics import Bools, Floats, Ints
from hilum.files import whole_file

COLUMNS = {
    "image_id": "string",
    "patient_id": "string",
    "source": "string",
    "part": "string",
    "fold": "Int64",
    "label": "string",
    "predicted": "string",
}
PREFIX = "p_"
# Rows of rounded probabilities do not sum to exactly 1.
SUM_TOLERANCE = 1e-3
# A class may be called "none" or "NA", so only an empty cell is missing there.
_UNKNOWN = ["", "NA", "N/A", "NaN", "nan", "None", "null", "NULL", "<NA>"]


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """The classes, in the order of the p_ columns.

    >>> classes_of(pd.DataFrame(columns=["image_id", "p_covid-19", "p_normal"]))
    ['covid-19', 'normal']
    """
    return [str(name).removeprefix(PREFIX) for name in predictions.columns if str(name).startswith(PREFIX)]


def probabilities_of(predictions: pd.DataFrame) -> Floats:
    """The p_ columns as (N, K)."""
    return predictions[[PREFIX + name for name in classes_of(predictions)]].to_numpy(np.float64)


def class_numbers(names: pd.Series, classes: list[str]) -> Ints:
    """The number of each class name, (N,); -1 where it is missing."""
    return np.asarray(pd.Categorical(names, categories=classes).codes, dtype=np.int64)


def from_probabilities(manifest: pd.DataFrame, p: Floats, classes: list[str], temperature: float = 1.0) -> pd.DataFrame:
    """The table for films of a manifest and their probabilities (N, K), rows in the same order.

    `temperature`, fitted on validation, is applied here once; the table holds calibrated probabilities. The label is
    the manifest's `class`. `predicted` is the most probable class, the first of equals.

    >>> films = pd.DataFrame({"image_id": ["a/1.png"], "class": ["normal"], "part": ["test"]})
    >>> from_probabilities(films, np.array([[0.2, 0.8]]), ["covid-19", "normal"])["predicted"].tolist()
    ['normal']
    """
    p = apply_temperature(np.asarray(p, np.float64), temperature)
    table = pd.DataFrame({name: manifest[name].to_numpy() for name in COLUMNS if name in manifest and name != "label"})
    table["label"] = manifest["class"].to_numpy() if "class" in manifest else pd.NA
    for number, name in enumerate(classes):
        table[PREFIX + name] = p[:, number]
    return check(table)


def check(predictions: pd.DataFrame, *, where: str = "predictions.csv") -> pd.DataFrame:
    """The same rows with every column in order and of its type; what is unknown is missing, extra columns come last.

    Refused with DataError naming row and column: no image_id, fewer than two p_ columns, a probability that is none, a
    row that does not sum to 1, a label or prediction that is no class, an image twice in a part, an unknown part.

    >>> table = check(pd.DataFrame({"image_id": ["1"], "label": ["ill"], "p_ill": [0.5], "p_well": [0.5]}))
    >>> table["predicted"].tolist(), table["patient_id"].isna().all()
    (['ill'], np.True_)
    """
    predictions = predictions.reset_index(drop=True)
    _check_columns(predictions, where)
    classes = classes_of(predictions)
    p = _probabilities(predictions, classes, where)
    best = pd.Series(np.array(classes, dtype=object)[p.argmax(1)], dtype="string")
    out: dict[str, pd.Series] = {}
    for name, dtype in COLUMNS.items():
        given = predictions[name] if name in predictions else pd.Series(pd.NA, index=predictions.index)
        try:
            out[name] = given.astype(pd.api.types.pandas_dtype(dtype))
        except (TypeError, ValueError) as error:
            raise DataError(f"column {name!r} does not hold {dtype} values: {error}", where=where) from None
    out["predicted"] = out["predicted"].fillna(best)
    for number, name in enumerate(classes):
        out[PREFIX + name] = pd.Series(p[:, number])
    out |= {str(name): predictions[name] for name in predictions.columns if name not in out}
    table = pd.DataFrame(out)
    _check_values(table, classes, where)
    return table


def write_predictions(predictions: pd.DataFrame, path: Path | str) -> None:
    """Write the table whole or not at all, with probabilities that read back as the same numbers."""
    predictions = check(predictions, where=str(path))
    with whole_file(path) as part:
        predictions.to_csv(part, index=False)


def read_predictions(path: Path | str) -> pd.DataFrame:
    """Read and check a predictions table, ours or another team's; a missing file is refused with RequestError."""
    path = Path(path)
    if not path.is_file():
        raise RequestError("there is no such table of predictions", where=str(path))
    try:
        header = pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns
        others = [name for name in header if not name.startswith(PREFIX)]
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys(others, "string"),
            converters={name: _exact for name in header if name.startswith(PREFIX)},
            keep_default_na=False,
            na_values={name: [""] if name in ("image_id", "label", "predicted") else _UNKNOWN for name in others},
            encoding="utf-8-sig",
        )
    except (OSError, ValueError) as error:
        raise DataError(f"this is no CSV table: {error}", where=str(path)) from None
    return check(frame, where=str(path))


def _exact(cell: str) -> float | str | None:
    """The number in a cell, to the last digit, which pandas may miss: an operating point is one film's exact p."""
    try:
        return float(cell)
    except ValueError:
        return cell.strip() or None


def _check_columns(predictions: pd.DataFrame, where: str) -> None:
    there = ", ".join(map(str, predictions.columns)) or "none"
    if "image_id" not in predictions:
        raise DataError(f"the column 'image_id' is missing; the columns are {there}", where=where)
    if len(classes_of(predictions)) < 2:
        raise DataError(
            f"a column p_<class> for each of at least two classes is needed; the columns are {there}",
            where=where,
            next_step="Name the columns of probabilities p_<class>, as in p_covid-19, p_normal.",
        )
    twice = predictions.columns[predictions.columns.duplicated()]
    if len(twice):
        raise DataError(f"the column {twice[0]!r} stands there twice", where=where)
    if not len(predictions):
        raise DataError("there is no row", where=where)


def _probabilities(predictions: pd.DataFrame, classes: list[str], where: str) -> Floats:
    columns = [PREFIX + name for name in classes]
    p = np.column_stack(
        [pd.to_numeric(predictions[name], errors="coerce").to_numpy(np.float64, na_value=np.nan) for name in columns]
    )
    total = p.sum(1)
    advice = ""
    if not np.isnan(p).any() and ((p < 0).any() or (p > 1).any()):
        percent = (p >= 0).all() and bool((np.abs(total - 100) < 100 * SUM_TOLERANCE).all())
        advice = (
            "These look like percentages; divide by 100" if percent else "These look like logits; apply softmax first"
        )
    bad = ~((p >= 0) & (p <= 1))
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        value = predictions[columns[column]].iloc[row]
        told = "is missing" if pd.isna(value) else f"{value} is no probability from 0 to 1"
        raise DataError(f"{columns[column]} {told}", where=_place(predictions, row, where), next_step=advice)
    far = np.abs(total - 1) > SUM_TOLERANCE
    if far.any():
        row = int(far.argmax())
        raise DataError(
            f"the probabilities {columns[0]} to {columns[-1]} sum to {total[row]:.4g}, not 1",
            where=_place(predictions, row, where),
            next_step="Divide each row by its sum if the classes exclude each other; "
            "outputs of one sigmoid per class are another task.",
        )
    return p


def _check_values(table: pd.DataFrame, classes: list[str], where: str) -> None:
    empty = (table["image_id"].isna() | (table["image_id"] == "")).to_numpy(bool)
    _refuse(empty, table, where, "image_id is empty")
    for name, known in {"label": classes, "predicted": classes, "part": list(PARTS)}.items():
        strange = (table[name].notna() & ~table[name].isin(known)).to_numpy(bool)
        if strange.any():
            value = table[name].iloc[int(strange.argmax())]
            _refuse(strange, table, where, f"{name} {value!r} is not one of {', '.join(known)}")
    if table["part"].notna().any():
        _refuse(table["part"].isna().to_numpy(), table, where, "part is missing, though other rows have one")
    twice = table.duplicated(["image_id", "part"]).to_numpy()
    _refuse(twice, table, where, "this image_id stands there twice in the same part")


def _refuse(bad: Bools, table: pd.DataFrame, where: str, told: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise DataError(told, where=_place(table, row, where))


def _place(table: pd.DataFrame, row: int, where: str) -> str:
    return f"{where} row {row} (image_id {table['image_id'].iloc[row]!r})"
