"""How well the class is told from the file and from pixels that show no lung, or too little of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.audit.films import Films, drawn
from hilum.audit.shortcuts import told_by
from hilum.audit.traits import Traits, all_traits
from hilum.audit.verdict import Check, not_done
from hilum.data.words import count_of
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Prepare

PIXEL_CHECKS = (
    "label-from-file",
    "label-from-border",
    "label-from-text",
    "label-from-sharpness",
    "label-from-histogram",
    "label-from-thumbnail",
)
_WITHOUT = "a model can name the class without seeing a lung"
_BLANK = 'Blank them (--set prepare.blank=\'["text", "corners"]\'), or crop to the lungs (--set prepare.lungs=crop).'
_ALIKE = "Bring all films into one {what}, and audit again; if it still tells, judge on sources left out."


def pixels(
    films: Films, prepared: Prepare | None = None, *, workers: int | None = None, progress: Progress = SILENT
) -> list[Check]:
    """All checks of this module; at most `how.films` films are read. prepared: see `audit_data`."""
    rows = drawn(films)
    paths = [Path(path) for path in films.manifest["path"].iloc[rows]]
    found = all_traits(paths, prepared, workers=workers, progress=progress)
    read = [(row, traits) for row, traits in zip(rows, found, strict=True) if isinstance(traits, Traits)]
    if not read:
        return [not_done(name, "no film's file can be read", films.limits, n=len(rows)) for name in PIXEL_CHECKS]
    seen = np.array([row for row, _ in read], np.int64)
    traits = [each for _, each in read]
    known = int((films.y >= 0).sum())
    sampled = (f"{len(seen)} of {count_of(known, 'film')} were looked at ([audit] films)",) if len(seen) < known else ()

    def of(name: str) -> NDArray[np.float64]:
        return np.stack([getattr(each, name) for each in traits])

    marks = of("marks")
    return [
        told_by(
            "label-from-file", films, _file(films, seen, of("coarseness")), seen,
            by="the file (size, shape, bits, format, JPEG quality)", so=_WITHOUT,
            advice=_ALIKE.format(what="size and format"), learner="trees", details=sampled,
        ),
        told_by(
            "label-from-border", films, of("border"), seen,
            by="the outermost tenth of the film", so=_WITHOUT,
            advice="Crop to the lungs (--set prepare.lungs=crop), and audit again.", details=sampled,
        ),
        told_by(
            "label-from-text", films, marks, seen,
            by="white letters and markers near the edges", so=_WITHOUT,
            advice=_BLANK, learner="trees",
            details=(*sampled, _marked(films, seen, marks)),
        ),
        told_by(
            "label-from-sharpness", films, of("sharpness"), seen,
            by="sharpness and compression (detail, blur, blocks, bytes per pixel)", so=_WITHOUT,
            advice=_ALIKE.format(what="size and compression"), learner="trees", details=sampled,
        ),
        told_by(
            "label-from-histogram", films, of("histogram"), seen,
            by="the grey levels (how often each occurs)", so="it needs no lung, though disease changes grey levels too",
            advice="Equalise the grey levels (--set prepare.equalise=clahe), and audit again.", details=sampled,
        ),
        told_by(
            "label-from-thumbnail", films, of("thumbnail"), seen,
            by="a thumbnail of 8 x 8 pixels", so="it shows the build of the film and hardly a finding",
            advice="Judge on sources left out (--set split.scheme=source) before believing a figure.", details=sampled,
        ),
    ]  # fmt: skip


def _file(films: Films, rows: NDArray[np.int64], coarseness: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the file says of itself, (M, D); trees take codes and missing values as they are."""
    about = films.manifest.iloc[rows]
    width, height = (about[name].to_numpy(float, na_value=np.nan) for name in ("width", "height"))
    codes = [pd.factorize(about[name].astype("string"), sort=True)[0].astype(float) for name in ("mode", "format")]
    bits = about["bits"].to_numpy(float, na_value=np.nan)
    return np.column_stack([width, height, width / height, bits, *codes, coarseness])


def _marked(films: Films, rows: NDArray[np.int64], marks: NDArray[np.float64]) -> str:
    any_mark = marks[:, 12] > 0
    shares = [
        f"{any_mark[of].mean():.0%} of {label}"
        for place, label in enumerate(films.classes)
        if (of := films.y[rows] == place).any()
    ]
    return "White marks were found on " + ", ".join(shares)
