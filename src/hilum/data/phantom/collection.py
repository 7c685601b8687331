"""A made-up collection: patients with films from several hospitals, and the shortcuts that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd

from hilum.data.manifest import conform
from hilum.data.phantom.acquisition import HOSPITALS, Hospital
from hilum.data.phantom.anatomy import Sex, View
from hilum.data.phantom.findings import Finding
from hilum.data.phantom.render import PhantomFilm, film
from hilum.data.phantom.shortcuts import KINDS, LEAKS, Shortcut
from hilum.errors import RequestError

SOURCE = "phantom"
CLASSES: Mapping[str, tuple[Finding, ...]] = {
    "covid-19": (Finding("ground-glass"),),
    "pneumonia/bacterial": (Finding("consolidation"),),
    "pneumonia/viral": (Finding("interstitial"),),
    "normal": (),
}
# Streams of random numbers of a collection; those of a film's pixels are below 10.
_PATIENT, _FILM, _CARRY, _HOSPITAL = 10, 11, 12, 13
_LEAK_KINDS = {kind: kind.removeprefix("duplicate-") for kind in LEAKS if kind.startswith("duplicate-")}
_COPY_SHARE = 0.8  # of the side of a resized copy
COPY_QUALITY = 60  # JPEG, of a copy encoded anew


@dataclass(frozen=True)
class Planned:
    """One film before it is made: all that was drawn for it."""

    patient: int
    number: int
    label: str
    finding: Finding | None
    view: View
    age_years: float
    sex: Sex
    hospital: Hospital
    shortcuts: tuple[str, ...]
    split: str | None
    copy: str = ""  # exact, resized or encoded: the film is a copy of the one before it

    @property
    def name(self) -> str:
        """What its file is called, without the ending."""
        return f"{self.hospital.name}/p{self.patient:05d}_{self.number}" + (f"_{self.copy}" if self.copy else "")


@dataclass(frozen=True)
class Collection:
    """Films that are made when they are asked for, in any order; `manifest` has a row for each.

    >>> films = collection(2, seed=1, side_px=64)
    >>> len(films) == len(films.manifest)
    True
    >>> films[0].pixels.ndim
    2
    """

    seed: int
    side_px: int
    planned: tuple[Planned, ...]

    def __len__(self) -> int:
        return len(self.planned)

    def __iter__(self) -> Iterator[PhantomFilm]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> PhantomFilm:
        """The film of a row of the manifest."""
        plan = self.planned[row]
        made = film(
            self.seed, patient=plan.patient, number=plan.number, side_px=self.side_px, finding=plan.finding,
            view=plan.view, age_years=plan.age_years, sex=plan.sex, hospital=plan.hospital, shortcuts=plan.shortcuts,
        )  # fmt: skip
        return _smaller(made) if plan.copy == "resized" else made

    @property
    def manifest(self) -> pd.DataFrame:
        """A conformed manifest: path is relative to the folder that `write` fills; a normal film has no finding.

        Columns of its own: finding, finding_contrast and finding_size (as asked for), and shortcuts, a space between.
        """
        return conform(pd.DataFrame([_row(plan) for plan in self.planned]), where=SOURCE)


def collection(
    patients: int,
    *,
    seed: int = 0,
    side_px: int = 256,
    classes: Mapping[str, Sequence[Finding]] = CLASSES,
    hospitals: Sequence[Hospital] = HOSPITALS,
    prevalence: Mapping[str, Mapping[str, float]] | None = None,
    films_per_patient: tuple[int, int] = (1, 3),
    spread: float = 0.3,
    test_share: float | None = None,
    shortcuts: Sequence[Shortcut] = (),
) -> Collection:
    """Plan a collection; nothing is made yet.

    classes says which finding, drawn among several, makes each label; none makes a normal film. prevalence gives,
    for a hospital's name, the weights of the labels there; equal where it is missing. spread is the standard
    deviation of the logarithm of contrast and size around those asked for. test_share makes a published split, by
    patient. Hospitals take turns; labels and parts fill each hospital evenly. A patient has one label, one hospital
    and one age, and keeps all of it when more patients are asked for.

    Refused with RequestError: no patient, class or hospital; two hospitals of one name; a prevalence or shortcut for
    a hospital or label that is not there; a patient leak without a published split.

    >>> films = collection(40, seed=3, prevalence={"north": {"normal": 1}, "south": {"covid-19": 1}})
    >>> films.manifest.groupby("source")["label"].unique().map(list).to_dict()
    {'phantom-north': ['normal'], 'phantom-south': ['covid-19']}
    >>> collection(41, seed=3).planned[:10] == collection(40, seed=3).planned[:10]
    True
    """
    _check(patients, classes, hospitals, prevalence or {}, films_per_patient, test_share, shortcuts)
    planned: list[Planned] = []
    for patient in range(patients):
        rng = _stream(seed, _PATIENT, patient)
        hospital = hospitals[patient % len(hospitals)]
        evenly, also_evenly = _evenly(seed, patient % len(hospitals), patient // len(hospitals))
        here = (prevalence or {}).get(hospital.name, dict.fromkeys(classes, 1.0))
        share = np.cumsum([here.get(label, 0.0) for label in classes])
        label = list(classes)[int(np.searchsorted(share, evenly * share[-1], side="right"))]
        age, sex = float(np.round(rng.triangular(18.0, 55.0, 90.0))), rng.random() < 0.5
        count = int(rng.integers(films_per_patient[0], films_per_patient[1] + 1))
        split = None if test_share is None else ("test" if also_evenly < test_share else "train")
        carried = _carried(seed, patient, 0, label, shortcuts)
        if any(s.kind == "age" for s in shortcuts):
            age = float(rng.integers(1, 6)) if "age" in carried else max(age, 18.0)
        own = Planned(patient, 0, label, None, "PA", age, "F" if sex else "M", hospital, (), split)
        films = [_film(own, seed, number, classes[label], spread, shortcuts) for number in range(count)]
        if "patient-leak" in carried and count > 1:
            films[-1] = replace(films[-1], split="train" if split == "test" else "test")
        for one in films:
            planned += [one, *_copies(one, seed, shortcuts)]
    return Collection(seed, side_px, tuple(planned))


def _evenly(seed: int, hospital: int, patient: int) -> tuple[float, float]:
    """Two numbers from 0 to 1 that fill the square evenly as patients are added, so that a small collection has the
    shares that were asked for and no class sits in one hospital by chance (Kronecker sequence of the plastic number).
    """
    start = _stream(seed, _HOSPITAL, hospital).random(2)
    a, b = (start + patient * np.array([0.7548776662466927, 0.5698402909980532])) % 1.0
    return float(a), float(b)


def _stream(seed: int, *of: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=of))


def _film(
    own: Planned, seed: int, number: int, findings: Sequence[Finding], spread: float, shortcuts: Sequence[Shortcut]
) -> Planned:
    """One film of a patient: view, finding and what it carries."""
    rng = _stream(seed, _FILM, own.patient, number)
    views, shares = zip(*own.hospital.views, strict=True)
    view: View = views[rng.choice(len(views), p=np.array(shares) / sum(shares))]
    contrast, size = np.exp(spread * rng.standard_normal(2))
    finding = None
    if findings:
        asked = findings[int(rng.integers(len(findings)))]
        finding = replace(asked, contrast=min(asked.contrast * contrast, 0.6), size=min(asked.size * size, 0.9))
    carried = _carried(seed, own.patient, number, own.label, shortcuts)
    if any(s.kind == "view" for s in shortcuts):
        view = "AP supine" if "view" in carried else "PA"
    seen = tuple(kind for kind in KINDS if kind in carried and kind not in LEAKS)
    return replace(own, number=number, finding=finding, view=view, shortcuts=seen)


def _carried(seed: int, patient: int, number: int, label: str, shortcuts: Sequence[Shortcut]) -> set[str]:
    """Kinds that a film carries; age and leak are the patient's, and so the same on all films of one."""
    carried: set[str] = set()
    for shortcut in shortcuts:
        of = 0 if shortcut.kind in ("age", "patient-leak") else number
        draw = _stream(seed, _CARRY, patient, of, KINDS.index(shortcut.kind)).random()
        if draw < shortcut.probability(label):
            carried.add(shortcut.kind)
    return carried


def _copies(one: Planned, seed: int, shortcuts: Sequence[Shortcut]) -> list[Planned]:
    """Copies of a film of the train part, for the test part; without a published split, of any film."""
    if one.split == "test":
        return []
    carried = _carried(seed, one.patient, one.number, one.label, shortcuts)
    other = None if one.split is None else "test"
    return [replace(one, copy=how, split=other) for kind, how in _LEAK_KINDS.items() if kind in carried]


def _smaller(made: PhantomFilm) -> PhantomFilm:
    height, width = (round(side * _COPY_SHARE) for side in made.pixels.shape)
    pixels = cv2.resize(made.pixels, (width, height), interpolation=cv2.INTER_AREA)
    lungs, finding = (
        cv2.resize(mask.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        for mask in (made.lungs, made.finding)
    )
    return replace(made, pixels=pixels.astype(np.uint8), lungs=lungs, finding=finding)


ENDINGS = {"png": "png", "jpeg": "jpg", "dicom": "dcm"}


def film_file(plan: Planned) -> str:
    """Where a film's file stands in the collection's folder."""
    return f"films/{plan.name}.{'jpg' if plan.copy == 'encoded' else ENDINGS[plan.hospital.format]}"


def _row(plan: Planned) -> dict[str, object]:
    source = f"{SOURCE}-{plan.hospital.name}"
    return {
        "image_id": f"{source}/{plan.name.split('/')[1]}",
        "path": film_file(plan),
        "label": plan.label,
        # A copy has come by another way, and nobody knows any more whose film it was.
        "patient_id": None if plan.copy else f"{source}/p{plan.patient:05d}",
        "source": source,
        "view": plan.view,
        "sex": plan.sex,
        "age_years": plan.age_years,
        "offset_days": None,
        "split": plan.split,
        "finding": plan.finding.kind if plan.finding else None,
        "finding_contrast": plan.finding.contrast if plan.finding else None,
        "finding_size": plan.finding.size if plan.finding else None,
        "shortcuts": " ".join(plan.shortcuts) or None,
    }


def _check(
    patients: int,
    classes: Mapping[str, Sequence[Finding]],
    hospitals: Sequence[Hospital],
    prevalence: Mapping[str, Mapping[str, float]],
    films_per_patient: tuple[int, int],
    test_share: float | None,
    shortcuts: Sequence[Shortcut],
) -> None:
    names = [hospital.name for hospital in hospitals]
    labels = {label for weights in prevalence.values() for label in weights} | {s.for_label for s in shortcuts} - {""}
    problems = {
        "a collection needs a patient, a class and a hospital": patients < 1 or not classes or not hospitals,
        f"two hospitals have one name: {', '.join(names)}": len(set(names)) < len(names),
        f"films_per_patient {films_per_patient} is not 1 or more, the lower number first": not (
            1 <= films_per_patient[0] <= films_per_patient[1]
        ),
        f"prevalence names hospitals that are not there: {', '.join(prevalence)}": bool(set(prevalence) - set(names)),
        f"{', '.join(sorted(labels - set(classes)))} is not among the labels {', '.join(classes)}": bool(
            labels - set(classes)
        ),
        "the weights of a prevalence must not be below 0, nor all be 0": any(
            min(w.values(), default=0) < 0 or sum(w.values()) <= 0 for w in prevalence.values()
        ),
        f"test_share {test_share} is not between 0 and 1": test_share is not None and not 0 < test_share < 1,
        "a patient leak needs a published split: give test_share": test_share is None
        and any(s.kind == "patient-leak" for s in shortcuts),
        "a kind of shortcut is asked for twice": len({s.kind for s in shortcuts}) < len(shortcuts),
    }
    for what, wrong in problems.items():
        if wrong:
            raise RequestError(what, where=SOURCE)
