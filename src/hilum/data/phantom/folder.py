"""A collection as files: films in each hospital's format, masks, and the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.data.manifest import write_manifest
from hilum.data.phantom.acquisition import Film
from hilum.data.phantom.collection import COPY_QUALITY, Collection, Planned, collection, film_file
from hilum.data.phantom.findings import Finding
from hilum.errors import FilmError, RequestError
from hilum.files import whole_file, write_text
from hilum.image.workers import map_films
from hilum.progress import SILENT, Progress

_MARK = "phantom.txt"


def write(films: Collection, folder: Path | str, *, masks: bool = True, progress: Progress = SILENT) -> pd.DataFrame:
    """Write films, masks (0 and 255, PNG) and manifest.csv; the value is the manifest, with absolute paths.

    films/HOSPITAL/pPPPPP_N.png, masks/lungs/HOSPITAL/..., masks/finding/HOSPITAL/... (only where there is a finding),
    and manifest.csv last, with the masks' paths in lung_mask and finding_mask. Files appear whole; a folder that was
    half written is finished, and what is there already is left. Refused with RequestError: a folder that holds
    another collection, or anything else.
    """
    folder = Path(folder).resolve()
    _claim(films, folder)
    manifest = films.manifest
    manifest["path"] = [str(folder / path) for path in manifest["path"]]
    if masks:
        where = {kind: [_mask_file(folder, kind, plan) for plan in films.planned] for kind in ("lungs", "finding")}
        manifest["lung_mask"] = pd.Series([str(path) for path in where["lungs"]], dtype="string")
        manifest["finding_mask"] = pd.Series(
            [str(path) if plan.finding else pd.NA for path, plan in zip(where["finding"], films.planned, strict=True)],
            dtype="string",
        )
    files = [[folder / film_file(plan)] for plan in films.planned]
    if masks:
        for row, plan in enumerate(films.planned):
            files[row] += [where["lungs"][row]] + ([where["finding"][row]] if plan.finding else [])
    missing = [row for row, wanted in enumerate(files) if not all(path.is_file() for path in wanted)]
    with progress.task("making films", total=len(films)) as advance:
        advance(len(films) - len(missing))
        for index, contents in map_films(partial(_contents, films), missing, workers=None):
            if isinstance(contents, FilmError):
                raise contents
            for path, content in zip(files[missing[index]], contents, strict=False):
                with whole_file(path) as part:
                    part.write_bytes(content)
            advance(1)
    write_manifest(manifest, folder / "manifest.csv")
    return manifest


def _contents(films: Collection, row: int) -> list[bytes]:
    """The files of one film: itself, the mask of the lungs, that of the finding."""
    made = films[row]
    masks = [_png(mask.view(np.uint8) * np.uint8(255)) for mask in (made.lungs, made.finding)]
    return [_encoded(made.pixels, films.planned[row], films.seed), *masks]


def demo_collection(folder: Path | str, *, seed: int = 0, progress: Progress = SILENT) -> pd.DataFrame:
    """The films of `hilum demo`: two hospitals, 200 patients with 1 to 3 films, four labels, 256 px, no shortcut.

    Hard enough that a small network is neither perfect nor lost; see docs/phantom.md for the figures.
    """
    films = collection(DEMO_PATIENTS, seed=seed, classes=DEMO_CLASSES, prevalence=DEMO_PREVALENCE)
    return write(films, folder, progress=progress)


DEMO_PATIENTS = 200
DEMO_CLASSES: Mapping[str, tuple[Finding, ...]] = {
    "covid-19": (Finding("ground-glass"),),
    "pneumonia/bacterial": (Finding("consolidation"),),
    "pneumonia/viral": (Finding("interstitial"),),
    "normal": (),
}
_EVENLY = {"covid-19": 2.0, "pneumonia/bacterial": 1.0, "pneumonia/viral": 1.0, "normal": 2.0}
DEMO_PREVALENCE: Mapping[str, Mapping[str, float]] = {"north": _EVENLY, "south": _EVENLY}


def _claim(films: Collection, folder: Path) -> None:
    """Write down which collection the folder is for, or find that it is for this one."""
    print_ = hashlib.sha256(repr((films.seed, films.side_px, films.planned)).encode()).hexdigest()
    text = f"Synthetic films made by hilum; no patient is shown.\ncollection {print_}\n"
    mark = folder / _MARK
    if mark.is_file():
        if mark.read_text(encoding="utf-8") != text:
            raise RequestError(
                "this folder holds another synthetic collection",
                where=str(folder),
                next_step="Name another folder, or delete it.",
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise RequestError("this folder is not empty", where=str(folder), next_step="Name a new folder.")
    else:
        write_text(mark, text)


def _mask_file(folder: Path, kind: str, plan: Planned) -> Path:
    return folder / "masks" / kind / f"{plan.name}.png"


def _encoded(pixels: Film, plan: Planned, seed: int) -> bytes:
    """The film's file, in its hospital's format and depth."""
    hospital = plan.hospital
    if plan.copy == "encoded":
        return _jpeg(pixels, COPY_QUALITY)
    # Grey levels are those of 8 bits, spread over the depth of the file: 255 becomes the highest value.
    most = (1 << hospital.bits) - 1
    deep = pixels if hospital.bits == 8 else np.round(pixels * (most / 255.0)).astype(np.uint16)
    writers: Mapping[str, Callable[[], bytes]] = {
        "png": lambda: _png(deep),
        "jpeg": lambda: _jpeg(pixels, hospital.jpeg_quality),
        "dicom": lambda: _dicom(most - deep if hospital.monochrome == 1 else deep, plan, seed),
    }
    return writers[hospital.format]()


def _png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def _jpeg(pixels: Film, quality: int) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def _dicom(pixels: NDArray[np.uint8] | NDArray[np.uint16], plan: Planned, seed: int) -> bytes:
    """A Digital X-Ray Image, for presentation (PS3.3 A.26), uncompressed."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    patient = f"{plan.hospital.name}-{plan.patient:05d}"
    header = Dataset()
    header.SOPClassUID = DigitalXRayImageStorageForPresentation
    header.SOPInstanceUID = generate_uid(entropy_srcs=[f"{seed}/{plan.name}"])
    header.StudyInstanceUID = generate_uid(entropy_srcs=[f"{seed}/{plan.name}/study"])
    header.SeriesInstanceUID = generate_uid(entropy_srcs=[f"{seed}/{plan.name}/series"])
    header.PatientID, header.PatientName, header.PatientSex = patient, "Phantom", plan.sex
    header.PatientAge = f"{int(plan.age_years):03d}Y"
    header.Modality, header.BodyPartExamined = "DX", "CHEST"
    header.ViewPosition = "PA" if plan.view == "PA" else "AP"
    header.PatientPosition = "HFS" if plan.view == "AP supine" else ""
    header.InstitutionName, header.Manufacturer = plan.hospital.name, "hilum phantom"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.PhotometricInterpretation = f"MONOCHROME{plan.hospital.monochrome}"
    header.PresentationLUTShape = "INVERSE" if plan.hospital.monochrome == 1 else "IDENTITY"
    header.BitsAllocated = 8 * pixels.dtype.itemsize
    header.BitsStored, header.HighBit = plan.hospital.bits, plan.hospital.bits - 1
    raw = pixels.tobytes()
    header.add_new("PixelData", "OB" if pixels.dtype == np.uint8 else "OW", raw + b"\0" * (len(raw) % 2))
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    out = BytesIO()
    header.save_as(out, enforce_file_format=True)
    return out.getvalue()
