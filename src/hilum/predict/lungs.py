"""Masks and overlays of many films, as files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from hilum.data.readers.common import files_below
from hilum.errors import FilmError, RequestError
from hilum.files import whole_file
from hilum.image.decode import decode
from hilum.image.facts import reason
from hilum.image.lungs import LungNetwork, network_of, overlay
from hilum.image.prepare import lungs_of
from hilum.image.workers import map_films
from hilum.progress import SILENT, Progress

COLUMNS = {
    "path": "the film",
    "mask": "its mask, 0 outside and 255 in the lungs, of the film's own size",
    "area": "share of the film that is lung",
    "doubt": "why the lungs that were found are not believable; there is no mask then",
    "error": "why the film could not be read",
}


def outline_lungs(
    paths: Iterable[Path],
    out: Path,
    *,
    network: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Write out/masks, out/overlays and out/lungs.csv, whose rows, in the order of the paths, are the value.

    paths: films, and folders, of which all films are taken. network: weights of a run; default the shipped ones.
    Refused with RequestError: a path that is not there, nothing to do, two films that would get one mask. With
    WeightsError: no lung network.
    """
    named = _named(list(paths))
    if network is not None:
        LungNetwork(network)  # refused here, before any worker starts
    job = partial(_outlined, out=out, network=network)
    rows: list[dict[str, Any]] = [{} for _ in named]
    with progress.task("outlining lungs", len(named)) as advance:
        for index, found in map_films(job, named, workers=workers):
            rows[index] = {"path": str(named[index][0])}
            rows[index] |= {"error": reason(found)} if isinstance(found, FilmError) else found
            advance(1)
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({name: "string" for name in COLUMNS if name != "area"})
    with whole_file(out / "lungs.csv") as part:
        table.to_csv(part, index=False)
    return table


def _named(paths: list[Path]) -> list[tuple[Path, Path]]:
    """Each film with the name of its mask below out/masks: its own, or its place in the folder, as PNG."""
    named: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise RequestError("there is no such file or folder", where=str(path))
        inside = files_below(path)[0] if path.is_dir() else [path.name]
        for relative in inside:
            film, name = path / relative if path.is_dir() else path, Path(relative).with_suffix(".png")
            if name in named and named[name] != film:
                name = Path(relative + ".png")  # a.png beside a.jpeg
            if name in named and named[name] != film:
                raise RequestError(
                    f"{named[name]} and {film} would get the same mask", next_step="Outline one folder at a time."
                )
            named[name] = film
    if not named:
        raise RequestError("there is no film here", where=", ".join(map(str, paths)))
    return [(film, name) for name, film in named.items()]


def _outlined(item: tuple[Path, Path], out: Path, network: Path | None) -> dict[str, Any]:
    film, name = item
    decoded = decode(film)
    if decoded.header is not None:
        from hilum.image.dicom import why_not_a_chest_film  # with pydicom, which is slow to import

        if other := why_not_a_chest_film(decoded.header):
            return {"doubt": other}
    pixels = decoded.pixels
    found = lungs_of(pixels, network_of(network))
    if found.doubt:
        return {"doubt": found.doubt}
    mask = found.mask(*pixels.shape)
    _write(out / "masks" / name, mask.astype(np.uint8) * 255)
    _write(out / "overlays" / name, overlay(pixels, mask)[:, :, ::-1])
    return {"mask": str(out / "masks" / name), "area": round(float(mask.mean()), 4)}


def _write(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise FilmError("the mask cannot be written as PNG", where=str(path))
    with whole_file(path) as part:
        part.write_bytes(data.tobytes())
