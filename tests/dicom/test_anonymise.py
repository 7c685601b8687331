"""Films without their patients: what is kept, what is hashed and shifted, and that nothing else is written."""

from __future__ import annotations

from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from dicom.nodes import file_of, film
from hilum.errors import FilmError, RequestError
from hilum.image.decode import decode
from hilum.image.dicom import read_header
from hilum.serve.dicom.anonymise import KEPT, Anonymised, anonymised, name_of, read_key, shifted

KEY = bytes(range(32))
SECRET = "ZEBEDEEDOE"


def made_of(dataset: pydicom.Dataset, key: bytes = KEY) -> tuple[pydicom.Dataset, Anonymised]:
    data = file_of(dataset)
    made = anonymised(data, read_header(data), key)
    return pydicom.dcmread(BytesIO(made.data)), made


def planted(pixels: Any) -> tuple[bytes, list[bytes]]:
    """A film with identifiers in every place where one was ever found, and what to search for."""
    with pydicom.config.disable_value_validation():
        bad = film(
            pixels,
            PatientName=f"{SECRET}^Jane",
            PatientID=f"ID{SECRET}",
            PatientBirthDate="19600102",
            ReferringPhysicianName=SECRET,
            InstitutionName=SECRET,
            StationName=SECRET,
            Manufacturer=SECRET,
            ManufacturerModelName=SECRET,
            StudyDescription=SECRET,
            SeriesDescription=SECRET,
            ProtocolName=SECRET,
            PatientComments=SECRET,
            ImageComments=SECRET,
            AccessionNumber=SECRET,
            StudyID=SECRET,
            SeriesNumber="4711",
            InstanceNumber="4712",
            StudyDate="20240305",
            StudyTime="134711",
            SOPInstanceUID="1.2.47114711.1",
            StudyInstanceUID="1.2.47114711.2",
            SeriesInstanceUID="1.2.47114711.3",
            BodyPartExamined=f"CHEST {SECRET}",
            ImageType=["ORIGINAL", SECRET],
            PatientSex=SECRET,
            PatientAge="095Y",
        )
        item = pydicom.Dataset()
        item.CodeMeaning, item.PatientName = SECRET, SECRET
        bad.RequestAttributesSequence = bad.OtherPatientIDsSequence = [item]
        bad.add_new(0x00091001, "LO", SECRET)
        bad.add_new(0x60003000, "OW", SECRET.encode())
        bad.DataSetTrailingPadding = SECRET.encode()
        bad.file_meta.SourceApplicationEntityTitle = SECRET
        bad.file_meta.PrivateInformationCreatorUID = "1.2.47114711.4"
        bad.file_meta.PrivateInformation = SECRET.encode()
        bad.PixelData = bad.PixelData + SECRET.encode()
        bad.preamble = SECRET.encode().ljust(128, b"\0")
        words = [SECRET, "Jane", "4711", "4712", "20240305", "19600102", "095Y", "1.2.47114711"]
        return file_of(bad), [word.encode() for word in words]


def test_nothing_planted_is_in_any_byte_that_is_written(films: list[Any]) -> None:
    data, words = planted(films[0])
    assert all(word in data for word in words)
    made = anonymised(data, read_header(data), KEY)
    assert not any(word in made.data for word in words)
    assert not any(word.decode() in made.name for word in words)


def test_text_in_a_compressed_stream_does_not_survive(films: list[Any]) -> None:
    one = film(cv2.GaussianBlur(films[0], (5, 5), 0))
    stream = cv2.imencode(".jpg", films[0])[1].tobytes()
    comment = b"\xff\xfe" + (len(SECRET) + 2).to_bytes(2, "big") + SECRET.encode()
    one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    one.PixelData = encapsulate([stream[:2] + comment + stream[2:]])
    one["PixelData"].is_undefined_length = True
    assert SECRET.encode() in file_of(one)
    assert SECRET.encode() not in made_of(one)[1].data


def test_an_anonymised_object_holds_the_elements_of_the_list_and_no_others(films: list[Any]) -> None:
    made, _ = made_of(film(films[0], PresentationIntentType="FOR PRESENTATION", PatientAge="064Y"))
    assert {element.keyword for element in made} <= set(KEPT)
    assert set(KEPT) - {element.keyword for element in made} <= {"BurnedInAnnotation"}
    assert (made.Modality, made.BodyPartExamined, made.ViewPosition, made.PatientSex) == ("CR", "CHEST", "PA", "F")
    assert (made.PatientAge, made.PatientIdentityRemoved) == ("064Y", "YES")


def test_the_pixels_are_those_that_hilum_sees(films: list[Any]) -> None:
    for source in (
        film(films[0]),
        film(films[0].astype(np.uint16) * 16, BitsStored=12, HighBit=11, WindowCenter="2000", WindowWidth="3000"),
        film(films[0], PhotometricInterpretation="MONOCHROME1"),
    ):
        before = decode(file_of(source)).pixels
        assert np.array_equal(decode(made_of(source)[1].data).pixels, before)


def test_a_patient_stays_one_and_studies_keep_their_distance(films: list[Any]) -> None:
    first, later = (made_of(film(films[0], StudyDate=day))[0] for day in ("20240305", "20240401"))
    other, _ = made_of(film(films[0], PatientID="P-18", StudyDate="20240305"))
    assert first.PatientID == later.PatientID != other.PatientID
    days = [date(int(d[:4]), int(d[4:6]), int(d[6:])) for d in (first.StudyDate, later.StudyDate)]
    assert (days[1] - days[0]).days == 27
    assert first.StudyDate != "20240305"
    assert made_of(film(films[0]), key=bytes(32))[0].PatientID != first.PatientID


def test_objects_of_a_study_stay_together_under_new_uids(films: list[Any]) -> None:
    one = film(films[0])
    two = film(films[1], StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID=one.SeriesInstanceUID)
    (a, named), (b, _) = made_of(one), made_of(two)
    assert a.StudyInstanceUID == b.StudyInstanceUID != one.StudyInstanceUID
    assert a.SeriesInstanceUID == b.SeriesInstanceUID != a.StudyInstanceUID
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert named.name == name_of(KEY, str(one.SOPInstanceUID))


@pytest.mark.parametrize(
    ("elements", "kept"),
    [
        ({"PatientAge": "101Y"}, {"PatientAge": "090Y"}),
        ({"PatientAge": "006M"}, {"PatientAge": "006M"}),
        ({"PatientAge": None, "PatientBirthDate": "19900305"}, {"PatientAge": "034Y", "PatientBirthDate": ""}),
        ({"Modality": "DR"}, {"Modality": "DX"}),
        ({"Manufacturer": "Philips Medical Systems"}, {"Manufacturer": "PHILIPS"}),
        ({"ViewPosition": "POSTERO_ANTERIOR"}, {"ViewPosition": "PA"}),
        ({"StudyDate": ""}, {"StudyDate": "", "LongitudinalTemporalInformationModified": "REMOVED"}),
        ({"BurnedInAnnotation": "YES"}, {"BurnedInAnnotation": "YES"}),
    ],
)
def test_each_value_becomes_one_of_its_list(films: list[Any], elements: dict[str, Any], kept: dict[str, str]) -> None:
    with pydicom.config.disable_value_validation():
        made, _ = made_of(film(films[0], **elements))
    assert {keyword: made.get(keyword) for keyword in kept} == kept


def test_letters_on_the_film_are_flagged_and_a_bare_film_is_not() -> None:
    bare = np.full((400, 400), 90, np.uint8)
    lettered = bare.copy()
    cv2.putText(lettered, "DOE J", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    made, about = made_of(film(lettered))
    assert about.marked and made.BurnedInAnnotation == "YES"
    made, about = made_of(film(bare))
    assert not about.marked and "BurnedInAnnotation" not in made


@pytest.mark.parametrize(
    "elements", [{"BodyPartExamined": SECRET}, {"ViewPosition": SECRET}, {"Modality": "CT"}, {"ViewPosition": "LLO"}]
)
def test_what_is_no_chest_film_is_refused_in_words_that_hold_nothing_of_it(
    films: list[Any], elements: dict[str, str]
) -> None:
    with pytest.raises(FilmError) as refused:
        made_of(film(films[0], **elements))
    assert SECRET not in str(refused.value)


def test_a_date_before_the_calendar_is_empty_and_a_key_is_made_once(tmp_path: Path) -> None:
    assert shifted("0001-01-01", KEY, "P") == ""
    key = read_key(tmp_path / "k")
    assert len(key) == 32 and read_key(tmp_path / "k") == key
    assert (tmp_path / "k").stat().st_mode & 0o077 == 0
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(RequestError, match="no key"):
        read_key(tmp_path / "short")
