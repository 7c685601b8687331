"""Films made byte by byte, so that what they must decode to is known without a decoder; and jobs for workers."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from hilum.errors import FilmError

# x start, y start, x step, y step of the seven passes: PNG specification, 8.2.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def png(
    samples: np.ndarray,
    *,
    depth: int = 8,
    colour: int = 0,
    palette: bytes = b"",
    transparency: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG of (H, W) or (H, W, channels) samples; colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, _ = samples.shape
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [samples]
    rows = b"".join(_rows(one, depth) for one in passes if one.size)
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    parts = [chunk(b"IHDR", header)]
    parts += [chunk(b"PLTE", palette)] if palette else []
    parts += [chunk(b"tRNS", transparency)] if transparency else []
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def _rows(samples: np.ndarray, depth: int) -> bytes:
    lines = []
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            line = row.astype(">u2").tobytes()
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            line = np.packbits(bits.astype(np.uint8).ravel()).tobytes()
        lines.append(b"\0" + line)
    return b"".join(lines)


def huge_png(width: int, height: int) -> bytes:
    """A one-bit black PNG of any size, in a few kilobytes."""
    row = b"\0" * (1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">LLBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(height: int = 64, width: int = 48) -> np.ndarray:
    """A film whose four corners differ, uint8."""
    return (np.arange(height)[:, None] * 2 + np.arange(width)[None, :] * 2 % 256).astype(np.uint8)


def dicom(pixels: np.ndarray, **elements: Any) -> pydicom.Dataset:
    """A CR object of these stored values, uncompressed; `elements` override or add, None removes."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["hilum"])
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if "BitsStored" in elements and "HighBit" not in elements:
        dataset.HighBit = elements["BitsStored"] - 1
    return dataset


def as_bytes(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def in_rows(values: list[int], dtype: str = "uint16") -> np.ndarray:
    """Each value as a column of a 16-row picture, repeated to at least 16 columns."""
    row = np.repeat(np.array(values, dtype), -(-16 // len(values)))
    return np.tile(row, (16, 1))


def first_of_each(pixels: np.ndarray, count: int) -> list[int]:
    """What `in_rows` of `count` values became."""
    return pixels[0, :: -(-16 // count)][:count].tolist()


def square(item: int) -> int:
    """A good job, save that it refuses 13, aborts the process at -1, never ends at -2 and is slow at -3."""
    if item == 13:
        raise FilmError("unlucky")
    if item == -1:
        os.abort()
    if item == -2:
        time.sleep(600)
    if item == -3:
        time.sleep(0.2)
    return item * item
