"""One synthetic film, from seed to pixels, with all that is true of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.data.phantom.acquisition import NORTH, Film, Hospital, collimate, develop, expose, mark, strength_for
from hilum.data.phantom.anatomy import Sex, View, draw_body, draw_pose
from hilum.data.phantom.findings import Finding, Where, place
from hilum.data.phantom.shortcuts import KINDS, LEAKS, plant, size_of
from hilum.data.phantom.tissue import chest
from hilum.errors import RequestError

# What is drawn for a film comes from streams of its own, so that a finding or a shortcut changes nothing else.
_BODY, _POSE, _TISSUE, _FINDING, _EXPOSURE, _NOISE, _SHORTCUT = range(7)


@dataclass(frozen=True)
class Facts:
    """What is true of a film."""

    patient: int
    number: int
    view: View
    age_years: float
    sex: Sex
    hospital: str
    finding: str  # "" where there is none
    where: Where | None
    size: float  # share of the lungs' area, as drawn
    contrast: float  # rise of the mean grey level inside the mask, as drawn, share of the scale
    shortcuts: tuple[str, ...]


@dataclass(frozen=True)
class PhantomFilm:
    """A film and its truth; all arrays have the film's shape (H, W)."""

    pixels: Film  # uint8, 0 black
    lungs: NDArray[np.bool_]
    finding: NDArray[np.bool_]
    facts: Facts


def film(
    seed: int,
    *,
    patient: int = 0,
    number: int = 0,
    side_px: int = 256,
    finding: Finding | None = None,
    view: View = "PA",
    age_years: float | None = None,
    sex: Sex | None = None,
    hospital: Hospital = NORTH,
    marks: bool = True,
    shortcuts: Collection[str] = (),
) -> PhantomFilm:
    """A synthetic frontal film: thickness of tissue and bone, Beer-Lambert attenuation, scatter, noise, a tone curve.

    seed and patient make the body; number makes the pose and the noise of one of the patient's films. side_px is the
    longer side. A missing age (18 to 90) or sex is drawn with the patient. shortcuts are kinds that this film
    carries. Two films that differ only in `finding` are equal farther than six pixels (blur, sharpening) from the mask.
    Refused with RequestError: a side below 64 px, another view, another shortcut, a seed below 0.

    >>> one = film(7, side_px=96, finding=Finding("consolidation", contrast=0.2))
    >>> one.pixels.shape, one.pixels.dtype
    ((96, 96), dtype('uint8'))
    >>> bool((one.lungs | ~one.finding).all())       # the finding lies inside the lungs
    True
    >>> bool((film(7, side_px=96).pixels == film(7, side_px=96).pixels).all())
    True
    """
    _check(seed, side_px, view, shortcuts)

    def stream(which: int, *of: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(which, *of)))

    own = stream(_BODY, patient)
    drawn_age, drawn_sex = float(np.round(own.triangular(18.0, 55.0, 90.0))), own.random() < 0.5
    age = drawn_age if age_years is None else float(age_years)
    of_sex: Sex = sex or ("F" if drawn_sex else "M")
    body = draw_body(own, age, of_sex)
    pose = draw_pose(stream(_POSE, patient, number), body, view)
    height, width = size_of(hospital, side_px, shortcuts)
    inside = chest(stream(_TISSUE, patient, number), body, pose, height, width)
    exposure = expose(stream(_EXPOSURE, patient, number), inside, hospital)
    depth, mask, where, contrast = inside.depth, np.zeros(inside.lungs.shape, np.bool_), None, 0.0
    if finding is not None:
        placed = place(stream(_FINDING, patient, number), finding, inside, body, pose)
        mask, where = placed.mask, placed.where
        amount = strength_for(exposure, inside, placed.opacity, mask, finding.contrast)
        depth = inside.depth.copy()
        depth[mask] = inside.filled(amount, placed.opacity, mask)
        contrast = float((exposure.grey(depth[mask], mask) - exposure.grey(inside.depth[mask], mask)).mean())
    shown = develop(stream(_NOISE, patient, number), depth, exposure, hospital)
    pixels = (shown * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    collimate(pixels, hospital.border)
    if marks:
        mark(pixels, hospital, view)
    pixels = plant(pixels, stream(_SHORTCUT, patient, number), shortcuts)
    facts = Facts(
        patient, number, view, age, of_sex, hospital.name, finding.kind if finding else "", where,
        float(mask.sum() / inside.lungs.sum()), contrast, tuple(kind for kind in KINDS if kind in shortcuts),
    )  # fmt: skip
    return PhantomFilm(pixels, inside.lungs, mask, facts)


def _check(seed: int, side_px: int, view: str, shortcuts: Collection[str]) -> None:
    if seed < 0:
        raise RequestError(f"seed {seed} is below 0", where="phantom")
    if side_px < 64:
        raise RequestError(f"side_px {side_px} is below 64: ribs would be thinner than a pixel", where="phantom")
    if view not in ("PA", "AP", "AP supine"):
        raise RequestError(f"view {view!r} is not PA, AP or AP supine", where="phantom")
    for kind in shortcuts:
        if kind not in KINDS or kind in LEAKS:
            raise RequestError(
                f"one film cannot carry the shortcut {kind!r}",
                where="phantom",
                next_step=f"It is one of: {', '.join(k for k in KINDS if k not in LEAKS)}.",
            )
