"""DICOM objects: the grey values that the standard asks for, and headers read as they are, never guessed."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from hilum.errors import FilmError
from hilum.image.decode import decode
from hilum.image.dicom import DicomHeader, notes, read_header, why_not_a_chest_film
from image.made_files import as_bytes, dicom, first_of_each, in_rows, ramp


def shown(values: list[int], dtype: str = "uint16", **elements: Any) -> list[int]:
    """The grey levels that stored values are decoded to."""
    return first_of_each(decode(as_bytes(dicom(in_rows(values, dtype), **elements))).pixels, len(values))


def test_eight_bits_without_a_window_are_shown_as_they_are() -> None:
    assert shown([20, 100, 240], "uint8") == [20, 100, 240]


def test_monochrome1_is_inverted() -> None:
    assert shown([20, 100, 240], "uint8", PhotometricInterpretation="MONOCHROME1") == [235, 155, 15]


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
def test_the_presentation_shape_does_not_invert_a_second_time(shape: str) -> None:
    elements = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": shape}
    assert shown([0, 255], "uint8", **elements) == [255, 0]


def test_deeper_values_without_a_window_span_least_to_greatest() -> None:
    assert shown([1000, 2000, 3000], BitsStored=12) == [0, 128, 255]


def test_signed_values_keep_their_order() -> None:
    assert shown([-1000, 0, 1000], "int16") == [0, 128, 255]


def test_a_linear_window_follows_the_standard() -> None:
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255 with c = 2048, w = 2001
    window = {"WindowCenter": 2048, "WindowWidth": 2001, "BitsStored": 12}
    assert shown([0, 1547, 2047, 2548, 4095], **window) == [0, 64, 127, 191, 255]


def test_an_exact_linear_window_follows_the_standard() -> None:
    # PS3.3 C.11.2.1.3.2: ((x - c) / w + 0.5) * 255 with c = 2000, w = 2000
    window = {"WindowCenter": 2000, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT", "BitsStored": 12}
    assert shown([500, 1500, 2000, 2500, 3500], **window) == [0, 64, 128, 191, 255]


def test_a_sigmoid_window_follows_the_standard() -> None:
    # PS3.3 C.11.2.1.3.1: 255 / (1 + exp(-4 (x - c) / w)); at c + w / 4 it is 255 / (1 + 1 / e) = 186.4
    window = {"WindowCenter": 2000, "WindowWidth": 2000, "VOILUTFunction": "SIGMOID", "BitsStored": 12}
    assert shown([0, 2000, 2500], **window) == [round(255 / (1 + np.exp(4))), 128, 186]


def test_the_first_of_several_windows_is_taken() -> None:
    window = {"WindowCenter": [2048, 100], "WindowWidth": [2001, 10], "BitsStored": 12}
    assert shown([0, 1547, 4095], **window) == [0, 64, 255]


@pytest.mark.parametrize("window", [(9000, 100), (100, 0), (100, -5)])
def test_a_window_that_would_leave_a_blank_film_is_not_followed(window: tuple[int, int]) -> None:
    assert shown([1000, 2000, 3000], WindowCenter=window[0], WindowWidth=window[1], BitsStored=12) == [0, 128, 255]


def test_slope_and_intercept_come_before_the_window() -> None:
    elements = {"RescaleSlope": "2", "RescaleIntercept": "-1000", "WindowCenter": 1000.5, "WindowWidth": 2001}
    assert shown([500, 1000, 1500], **elements) == [0, 128, 255]


def test_a_negative_slope_inverts() -> None:
    assert shown([0, 1000, 4000], RescaleSlope="-1", RescaleIntercept="0") == [255, 191, 0]


def lookup(first: int, entries: list[int], bits: int) -> Sequence:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def test_a_table_of_interest_comes_before_a_window() -> None:
    # Values below the first and beyond the last entry take those; 12-bit entries though 16 bits are claimed.
    table = lookup(100, [0, 1024, 4095], 16)
    assert shown([50, 100, 101, 102, 500], VOILUTSequence=table, WindowCenter=1, WindowWidth=2) == [0, 0, 64, 255, 255]


def test_a_modality_table_comes_before_everything() -> None:
    table = lookup(0, [3000, 2000, 1000], 12)
    assert shown([0, 1, 2], ModalityLUTSequence=table, BitsStored=12) == [255, 128, 0]


def test_padding_is_black_and_does_not_stretch_the_scale() -> None:
    elements = {"PixelPaddingValue": 65535, "PhotometricInterpretation": "MONOCHROME1"}
    assert shown([1000, 2000, 3000, 65535], **elements) == [255, 128, 0, 0]


def test_a_range_of_padding_is_black() -> None:
    elements = {"PixelPaddingValue": 60000, "PixelPaddingRangeLimit": 65535}
    assert shown([1000, 3000, 60000, 62000], **elements) == [0, 255, 0, 0]


def test_colour_is_its_luminance() -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    film = decode(as_bytes(dicom(np.tile(np.repeat(colours, 6, axis=0), (16, 1, 1)))))
    assert film.pixels[0, ::6].tolist() == [76, 150, 29]


def test_a_palette_is_looked_up() -> None:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, values in {"Red": [255, 0], "Green": [0, 0], "Blue": [0, 255]}.items():
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [2, 0, 8]
        elements[f"{name}PaletteColorLookupTableData"] = bytes(values)
    assert shown([0, 1], "uint8", **elements) == [76, 29]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_uncompressed_encoding_gives_the_same_film(syntax: str) -> None:
    pixels = in_rows([0, 1024, 4095])
    dataset = dicom(pixels, BitsStored=12)
    plain = decode(as_bytes(dataset))
    if syntax == DeflatedExplicitVRLittleEndian:
        data = deflated(as_bytes(dataset))
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = pixels.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        data = as_bytes(dataset)
    film = decode(data)
    np.testing.assert_array_equal(film.pixels, plain.pixels)
    assert film.header == plain.header


def deflated(data: bytes, body: bytes | None = None) -> bytes:
    """An explicit little endian object as a deflated one; `body` replaces its data set."""
    end = 144 + int.from_bytes(data[140:144], "little")
    head = data[:end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    head = head[:140] + (len(head) - 144).to_bytes(4, "little") + head[144:]
    at = head.index(b"1.2.840.10008.1.2.1.99") - 2
    head = head[:at] + (22).to_bytes(2, "little") + head[at + 2 :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return head + packer.compress(data[end:] if body is None else body) + packer.flush()


def test_an_object_that_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilum.image.dicom.MAX_FILE_BYTES", 2**20)  # as 512 MiB of zeros take long to pack
    bomb = deflated(as_bytes(dicom(in_rows([0, 1]))), body=bytes(2**20 + 1))
    assert len(bomb) < 5000
    with pytest.raises(FilmError, match="inflates to more than 1 MiB"):
        decode(bomb)


def test_an_object_without_preamble_and_meta_information_is_read() -> None:
    dataset = dicom(in_rows([0, 128, 255], "uint8"))
    for implicit in (True, False):
        buffer = io.BytesIO()
        bare = pydicom.Dataset(dataset)
        pydicom.dcmwrite(buffer, bare, implicit_vr=implicit, little_endian=True)
        assert buffer.getvalue()[128:132] != b"DICM"
        assert first_of_each(decode(buffer.getvalue()).pixels, 3) == [0, 128, 255]


def test_rle_gives_the_same_film() -> None:
    dataset = dicom(ramp())
    dataset.compress(RLELossless)
    np.testing.assert_array_equal(decode(as_bytes(dataset)).pixels, ramp())


def compressed(dataset: pydicom.Dataset, stream: bytes, syntax: str) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    return as_bytes(dataset)


def test_jpeg_2000_gives_the_same_film() -> None:
    buffer = io.BytesIO()
    Image.fromarray(ramp()).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    film = decode(compressed(dicom(ramp()), buffer.getvalue(), JPEG2000Lossless))
    np.testing.assert_array_equal(film.pixels, ramp())


def test_a_jpeg_inside_is_decoded_as_the_jpeg_file_and_smaller_where_allowed() -> None:
    picture = np.tile(ramp(), (8, 8))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    data = compressed(dicom(picture), buffer.getvalue(), JPEGBaseline8Bit)
    np.testing.assert_array_equal(decode(data).pixels, decode(buffer.getvalue()).pixels)
    small = decode(data, at_least_px=64)
    assert small.pixels.shape == (128, 96)
    assert (small.facts.width, small.facts.height) == (384, 512)


def lossless_jpeg(pixels: np.ndarray, folder: Path) -> bytes:
    """A lossless JPEG object, as GDCM writes it."""
    gdcm = pytest.importorskip("gdcm")
    (folder / "plain.dcm").write_bytes(as_bytes(dicom(pixels, BitsStored=12)))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "plain.dcm"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return (folder / "packed.dcm").read_bytes()


def test_a_twelve_bit_lossless_jpeg_gives_the_same_film(tmp_path: Path) -> None:
    pixels = ramp().astype(np.uint16) * 16
    data = lossless_jpeg(pixels, tmp_path)
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    np.testing.assert_array_equal(decode(data).pixels, decode(as_bytes(dicom(pixels, BitsStored=12))).pixels)


def test_a_lossless_jpeg_that_is_broken_ends_no_process_of_ours(tmp_path: Path) -> None:
    data = lossless_jpeg(ramp().astype(np.uint16) * 16, tmp_path)
    start = data.index(b"\xff\xd8")
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(start, min(start + 400, len(data)), 4):
            broken[at] = rng.integers(256)
        try:
            assert decode(bytes(broken)).pixels.shape == (64, 48)
        except FilmError:
            continue


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": 2}, "holds 2 frames"),
        ({"PixelData": None}, r"holds no pixels \(modality CR\)"),
        ({"BitsAllocated": 32}, "16 of 32 bits|32 bits"),
        ({"PhotometricInterpretation": "HSV"}, "'HSV'"),
        ({"Rows": 65535, "Columns": 65535}, "at most 30000 on a side"),
        ({"Rows": 20000, "Columns": 20000}, "at most 80 million"),
        ({"Rows": None}, "how many rows"),
        ({"Rows": 4000}, "damaged or cut off"),
        ({"BitsStored": 12, "HighBit": 15}, "lowest bits"),
    ],
)
def test_objects_that_are_no_film_are_refused_with_the_reason(elements: dict[str, Any], reason: str) -> None:
    with pytest.raises(FilmError, match=reason):
        decode(as_bytes(dicom(in_rows([0, 1, 2]), **elements)))


def test_a_compressed_picture_of_another_size_than_its_header_says_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(ramp(), (4, 4))).save(buffer, "JPEG2000", no_jp2=True)
    with pytest.raises(FilmError, match="the picture in it"):
        decode(compressed(dicom(ramp()), buffer.getvalue(), JPEG2000Lossless))


# ---------------------------------------------------------------------------------------------------------- headers


def header(**elements: Any) -> DicomHeader:
    return read_header(as_bytes(dicom(in_rows([0, 1], "uint8"), **elements)))


@pytest.mark.parametrize(
    ("age", "years"),
    [("068Y", 68.0), ("68", 68.0), ("006M", 0.5), ("026W", 0.5), ("000D", 0.0), ("999Y", None), ("old", None)],
)
def test_ages_are_years_in_every_unit(age: str, years: float | None) -> None:
    found = header(PatientAge=age, StudyDate="20200101", PatientBirthDate="").age_years
    assert found == years if years is None else found == pytest.approx(years, abs=0.01)


def test_age_comes_from_the_dates_where_it_is_not_told() -> None:
    assert header(PatientBirthDate="19500101", StudyDate="20200101").age_years == pytest.approx(70, abs=0.01)
    assert header(PatientBirthDate="20210101", StudyDate="20200101").age_years is None  # born after the study


@pytest.mark.parametrize(
    ("raw", "view"),
    [("PA", "PA"), ("AP", "AP"), ("LL", "lateral"), ("LATERAL", "lateral"), ("AP SUPINE", "AP supine"),
     ("RLD", "lateral decubitus"), ("LLO", "oblique"), ("XX", None)],
)  # fmt: skip
def test_views_have_one_name_each_and_unknown_ones_stay_raw(raw: str, view: str | None) -> None:
    found = header(ViewPosition=raw)
    assert (found.view, found.view_raw) == (view, raw)


def test_a_scanner_position_is_no_view_and_a_projection_there_is_one() -> None:
    assert header(PatientPosition="HFS").view_raw is None
    assert header(PatientPosition="PA").view == "PA"
    code = pydicom.Dataset()
    code.CodeMeaning = "postero-anterior"
    assert header(ViewCodeSequence=Sequence([code])).view == "PA"


@pytest.mark.parametrize(("told", "sex"), [("F", "F"), ("m", "M"), ("O", None), ("", None)])
def test_sex_is_f_or_m_or_unknown(told: str, sex: str | None) -> None:
    assert header(PatientSex=told).sex == sex


def test_texts_have_no_control_characters_and_an_end() -> None:
    dataset = dicom(in_rows([0, 1], "uint8"))
    dataset.add_new("Manufacturer", "LT", "\x1b[31mred\x07 " + "x" * 9999)
    found = read_header(as_bytes(dataset)).manufacturer
    assert found is not None
    assert found.isprintable()
    assert len(found) == 256


def test_a_header_is_the_same_with_and_without_the_pixels(tmp_path: Path) -> None:
    data = as_bytes(dicom(in_rows([0, 1], "uint8"), PatientID="p7", PatientAge="040Y", BurnedInAnnotation="YES"))
    (tmp_path / "a.dcm").write_bytes(data)
    assert read_header(tmp_path / "a.dcm") == read_header(data) == decode(data).header
    assert (read_header(data).patient_id, read_header(data).burned_in_annotation) == ("p7", True)


def test_what_to_know_of_an_object_is_noted() -> None:
    chest = DicomHeader(modality="DX", body_part="CHEST", view="PA", view_raw="PA", photometric="MONOCHROME2")
    assert notes(chest) == []
    assert len(notes(DicomHeader())) == 3
    odd = DicomHeader(
        **{**chest.__dict__, "presentation_lut_shape": "INVERSE", "presentation_intent": "FOR PROCESSING"}
    )
    assert [note.split(" ")[0] for note in notes(odd)] == ["is", "contradicts"]


@pytest.mark.real
def test_the_four_objects_that_are_no_chest_films_are_flagged_and_the_others_are_not(shared: Path) -> None:
    reasons = {file.stem: why_not_a_chest_film(read_header(file)) for file in (shared / "data/dicom").glob("*.dcm")}
    assert len(reasons) == 10
    flagged = {name: reason for name, reason in reasons.items() if reason}
    assert set(flagged) == {"cr-extremity-jpeg2000", "nih-tagged-ct", "nih-dx-tagged-ribcage", "nih-position-xx"}
    assert "EXTREMITY" in flagged["cr-extremity-jpeg2000"]
    assert "CT" in flagged["nih-tagged-ct"]
    assert "RIBCAGE" in flagged["nih-dx-tagged-ribcage"]
    assert "XX" in flagged["nih-position-xx"]
    assert "does not say its body part" in notes(read_header(shared / "data/dicom/dx-no-bodypart.dcm"))


@pytest.mark.real
def test_the_same_stored_film_as_monochrome_1_and_2_is_each_others_inverse(shared: Path) -> None:
    one, two = (decode(shared / f"data/dicom/cr-monochrome{number}-jpeg.dcm") for number in (1, 2))
    np.testing.assert_array_equal(one.pixels, 255 - two.pixels)


@pytest.mark.real
def test_real_objects_show_air_dark_and_bone_bright(shared: Path) -> None:
    for name in ("cr-ap-jpeg", "cr-chest-monochrome1-jpeg2000", "cr-monochrome2-jpeg", "nih-dx-frontal"):
        pixels = decode(shared / f"data/dicom/{name}.dcm").pixels
        height, width = pixels.shape
        spine = pixels[height // 2 :, width * 9 // 20 : width * 11 // 20].mean()
        lungs = np.concatenate([pixels[height // 3 : height // 2, width * at // 100 : width * (at + 8) // 100].ravel()
                                for at in (25, 67)]).mean()  # fmt: skip
        assert spine > lungs + 20, name
        assert np.ptp(pixels) > 150, name


def test_every_file_that_pydicom_ships_gives_a_film_or_a_film_error() -> None:
    folder = Path(pydicom.__file__).parent / "data"
    films = 0
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        try:
            film = decode(file)
        except FilmError as error:
            assert str(file) in str(error)
        else:
            films += 1
            assert film.pixels.dtype == np.uint8
            assert film.pixels.shape == (film.facts.height, film.facts.width)
    assert films > 50
    assert films < len(files)


@pytest.mark.parametrize("name", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"])
def test_pydicoms_one_picture_in_seven_encodings_is_one_film(name: str) -> None:
    folder = Path(pydicom.__file__).parent / "data/test_files"
    plain = decode(folder / "MR_small.dcm").pixels
    np.testing.assert_array_equal(decode(folder / f"MR_small_{name}.dcm").pixels, plain)
