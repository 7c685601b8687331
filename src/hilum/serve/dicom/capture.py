"""The secondary capture of a film: where the model's answer comes from, with the map's scale burned in."""

from __future__ import annotations

import cv2
import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.sr.codedict import codes

from hilum import __version__
from hilum.serve.dicom.report import Said
from hilum.serve.dicom.source import uid_of
from hilum.serve.pictures import Overlay, coloured
from hilum.serve.records import RESEARCH

SERIES_NUMBER = 9002
LONGEST_PX = 1024
# So that the lines below a narrow film can be read.
_LEAST_WIDTH_PX = 640
_LINE_PX, _FONT_PX, _MARGIN_PX = 24, 17, 12


def capture_uid(source: pydicom.Dataset, model_id: str) -> str:
    """The capture's UID, made of its source's and the model's."""
    return str(uid_of(str(source.SOPInstanceUID), model_id, "capture"))


def capture_of(source: pydicom.Dataset, said: Said, made: Overlay, method: str) -> pydicom.Dataset:
    """The capture of a film and its map, in the film's study. made: the map, by that method, of the likeliest class."""
    result = said.result
    pixels = drawn(made, [*_lines(said, method), RESEARCH])
    orientation = source.get("PatientOrientation")
    capture = hd.sc.SCImage.from_ref_dataset(
        source,
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=uid_of(str(source.StudyInstanceUID), result.model_id, "captures"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=capture_uid(source, result.model_id),
        instance_number=1,
        manufacturer="hilum",
        manufacturer_model_name=result.model[:64],
        software_versions=__version__,
        device_serial_number=result.model_id,
        series_description="hilum map, research use only",
        patient_orientation=("L", "F"),
        transfer_syntax_uid=pydicom.uid.ExplicitVRLittleEndian,
    )
    # The film's own, or unknown: it is not for us to say.
    capture.PatientOrientation = orientation or ""
    capture.Laterality = ""  # of the whole chest; type 2C (PS3.3 C.7.3.1)
    if "BurnedInAnnotation" in source:
        capture.BurnedInAnnotation = source.BurnedInAnnotation
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DerivationDescription = f"Film with its {method} map by hilum. {RESEARCH}"
    capture.ImageComments = RESEARCH
    referenced = pydicom.Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    purpose = pydicom.Dataset()
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    referenced.PurposeOfReferenceCodeSequence = [purpose]
    capture.SourceImageSequence = [referenced]
    return capture


def drawn(made: Overlay, lines: list[str]) -> NDArray[np.uint8]:
    """RGB (H, W, 3): the film under its map, and below it the map's scale and the lines."""
    picture = _laid(made)
    width = picture.shape[1]
    font = ImageFont.load_default(_FONT_PX)
    lines = [part for line in lines for part in _broken(line, font, width - 2 * _MARGIN_PX)]
    panel = Image.new("RGB", (width, 2 * _MARGIN_PX + _LINE_PX * (len(lines) + 2)))
    pen = ImageDraw.Draw(panel)
    scale = _scale(width - 2 * _MARGIN_PX)
    panel.paste(Image.fromarray(scale), (_MARGIN_PX, _MARGIN_PX))
    top = _MARGIN_PX + _LINE_PX
    pen.text((_MARGIN_PX, top), "0", "white", font)
    pen.text((width - _MARGIN_PX, top), f"{made.full:.3g} {made.unit}", "white", font, anchor="ra")
    pen.text((width / 2, top), f"highest on this film: {made.highest:.3g}", "white", font, anchor="ma")
    for number, line in enumerate(lines):
        pen.text((_MARGIN_PX, top + _LINE_PX * (number + 1)), line, "white", font)
    return np.ascontiguousarray(np.vstack([picture, np.asarray(panel, np.uint8)]))


def _lines(said: Said, method: str) -> list[str]:
    result = said.result
    shares = ", ".join(f"{name} {p:.3f}" for name, p in result.probabilities.items())
    held = "no prediction set" if result.prediction_set is None else ", ".join(result.prediction_set) or "none"
    return [
        f"hilum {__version__}, model {result.model} ({result.model_id})",
        f"Probabilities: {shares}",
        f"Prediction set: {held}{'; not confident: refer' if result.refer else ''}",
        f"Map: {method} of {result.predicted}. A map does not explain a disease.",
    ]


def _laid(made: Overlay) -> NDArray[np.uint8]:
    height, width = made.film.shape
    scale = max(LONGEST_PX / max(height, width), _LEAST_WIDTH_PX / width)
    size = (round(width * scale), round(height * scale))
    base = cv2.cvtColor(cv2.resize(made.film, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    top = cv2.resize(made.colours, size, interpolation=cv2.INTER_LINEAR)
    share = top[:, :, 3].astype(np.float32) / 255
    return np.asarray(cv2.blendLinear(cv2.cvtColor(top, cv2.COLOR_BGRA2RGB), base, share, 1 - share), np.uint8)


def _scale(width: int) -> NDArray[np.uint8]:
    """The map's colours from 0 to the top, as they look on grey."""
    values = np.tile(np.linspace(0.0, 1.0, width, dtype=np.float32), (_LINE_PX - 6, 1))
    return _laid_on_grey(coloured(values, 1.0))


def _laid_on_grey(colours: NDArray[np.uint8], grey: int = 90) -> NDArray[np.uint8]:
    share = colours[:, :, 3:].astype(np.float32) / 255
    return np.asarray(np.round(grey * (1 - share) + colours[:, :, 2::-1] * share), np.uint8)


def _broken(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """A line in pieces that fit."""
    pieces = [""]
    for word in line.split():
        longer = f"{pieces[-1]} {word}".strip()
        if pieces[-1] and font.getlength(longer) > width:
            pieces.append(word)
        else:
            pieces[-1] = longer
    return pieces
