"""The structured report of a film: TID 1500, one measurement group with what one model says.

PS3.16 TID 1500, 1501, 300, 4019. What DICOM and SNOMED CT have no code for is coded under 99HILUM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import highdicom as hd
import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes

from hilum import __version__
from hilum.serve.dicom.source import uid_of
from hilum.serve.records import RESEARCH, ResultRecord

SCHEME = "99HILUM"
SERIES_NUMBER = 9001
# SNOMED CT, as in PS3.16 Annex L and the COVID-19 release notes of DICOM (CP-2000).
_KNOWN: Mapping[str, tuple[str, str]] = {
    "covid-19": ("840539006", "COVID-19"),
    "pneumonia": ("233604007", "Pneumonia"),
    "normal": ("17621005", "Normal"),
    "pneumonia/bacterial": ("53084003", "Bacterial pneumonia"),
    "pneumonia/viral": ("75570004", "Viral pneumonia"),
}


@dataclass(frozen=True)
class Said:
    """What a model says of a film, and what must be said of the model.

    weights: SHA-256 of its weights, or the start of it. point: the operating point in words. notes: of the model;
    doubts: of the film.
    """

    result: ResultRecord
    weights: str
    coverage: float | None
    point: str
    notes: Sequence[str]
    doubts: Sequence[str]


def report_uid(source: pydicom.Dataset, model_id: str) -> str:
    """The report's UID, made of its source's and the model's."""
    return str(uid_of(str(source.SOPInstanceUID), model_id, "report"))


def report_of(source: pydicom.Dataset, said: Said) -> pydicom.Dataset:
    """The report on a film, in its study; source: as `source.source_of` made it."""
    result = said.result
    algorithm = sr.AlgorithmIdentification(
        name=f"hilum: {result.model}"[:64],
        version=__version__,
        parameters=[f"weights SHA-256 {said.weights}", f"operating point: {said.point}", RESEARCH],
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=uid_of(str(source.SOPInstanceUID), result.model_id, "tracking"), identifier=f"hilum {result.model_id}"
        ),
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(sr.CodedConcept("51185008", "SCT", "Chest"))],
        measurements=[
            sr.Measurement(name=_own(f"p {name}", f"Probability of {name}"), value=round(p, 6), unit=codes.UCUM.NoUnits)
            for name, p in result.probabilities.items()
        ],
        qualitative_evaluations=_evaluations(result),
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=source.SOPClassUID, referenced_sop_instance_uid=source.SOPInstanceUID
            )
        ],
    )
    for line in _lines(said):
        group[0].ContentSequence.append(
            sr.TextContentItem(name=codes.DCM.Comment, value=line, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        )
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=uid_of(result.model_id, "device"),
            name="hilum",
            manufacturer_name="hilum",
            model_name=result.model[:64],
            serial_number=result.model_id,
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=sr.CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=[group],
    )
    # highdicom copies the tree and goes through it three times, which is half of a report's cost: it gets the tree's
    # trunk, and the report the branches.
    (root,) = content
    branches = root.ContentSequence
    root.ContentSequence = branches[:1]
    report = sr.EnhancedSR(
        evidence=[source],
        content=root,
        series_instance_uid=uid_of(str(source.StudyInstanceUID), result.model_id, "reports"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=report_uid(source, result.model_id),
        instance_number=1,
        manufacturer="hilum",
        manufacturer_model_name=result.model[:64],
        software_versions=__version__,
        device_serial_number=result.model_id,
        series_description="hilum report, research use only",
        is_complete=True,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
    )
    report.ContentSequence = branches
    return report


def _evaluations(result: ResultRecord) -> list[sr.QualitativeEvaluation]:
    """The most probable class, the prediction set, and what is called at the operating point, as coded values."""
    found = [("most-probable", "Most probable class", [result.predicted])]
    if result.prediction_set is not None:
        found.append(("prediction-set", "Class in the prediction set", result.prediction_set))
    if result.called is not None:
        found.append(("called", "Class called at the operating point", result.called))
    return [
        sr.QualitativeEvaluation(name=_own(code, meaning), value=class_code(name))
        for code, meaning, names in found
        for name in names or [""]
    ]


def _lines(said: Said) -> list[str]:
    """What a reader must know beside the numbers."""
    lines = [RESEARCH]
    result = said.result
    if result.prediction_set is None:
        lines.append("The run has no validation films to make prediction sets of.")
    else:
        held = ", ".join(result.prediction_set) or "none"
        share = f" made to hold the true class of {said.coverage:.0%} of films" if said.coverage else ""
        lines.append(f"Prediction set{share}: {held}." + (" Not confident: refer." if result.refer else ""))
    lines.append(f"Operating point: {said.point}.")
    lines += [f"Of the model: {note}" for note in said.notes]
    lines += [f"Of the film: {doubt}" for doubt in said.doubts]
    return lines


def class_code(name: str) -> sr.CodedConcept:
    """A class as a code: SNOMED CT's where it has one, else our own; "" is none of them.

    >>> class_code("covid-19").value, class_code("something else").scheme_designator
    ('840539006', '99HILUM')
    """
    if not name:
        return _own("none", "None")
    if name in _KNOWN:
        value, meaning = _KNOWN[name]
        return sr.CodedConcept(value, "SCT", meaning)
    return _own(name, name)


def _own(value: str, meaning: str) -> sr.CodedConcept:
    """A code of ours; one that is over the 16 characters of a code value (PS3.5, SH) becomes its hash."""
    fits = len(value) <= 16 and value.isascii() and "\\" not in value
    return sr.CodedConcept(
        value if fits else hashlib.sha256(value.encode()).hexdigest()[:16], SCHEME, meaning.replace("\\", "/")[:64]
    )
