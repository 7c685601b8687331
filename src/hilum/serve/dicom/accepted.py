"""What the node accepts and what it sends: the SOP classes and transfer syntaxes. The conformance statement is made
of these tables, so it cannot say anything else than what the node does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VERIFICATION: Final = "1.2.840.10008.1.1"

# Films come as these (PS3.4 B.5).
FILM_CLASSES: Final[Mapping[str, str]] = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
}

# All that hilum.image.decode reads, but the deflated one: a small object could ask for much memory.
FILM_SYNTAXES: Final[Mapping[str, str]] = {
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless (Process 14, Selection Value 1)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}

REPORT_CLASS: Final = "1.2.840.10008.5.1.4.1.1.88.22"
CAPTURE_CLASS: Final = "1.2.840.10008.5.1.4.1.1.7"
# Answers are written as the first, and every node must know the second (PS3.5 10.1).
ANSWER_CLASSES: Final[Mapping[str, str]] = {
    REPORT_CLASS: "Enhanced SR Storage (TID 1500)",
    CAPTURE_CLASS: "Secondary Capture Image Storage",
}
ANSWER_SYNTAXES: Final[Mapping[str, str]] = {
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
}

# What a C-STORE is answered with (PS3.4 B.2.3, PS3.7 C), and STOW-RS says of each object (PS3.18 I.2), and when.
OK: Final = 0x0000
DISCARDED: Final = 0xB006
OUT_OF_RESOURCES: Final = 0xA700
NOT_MATCHING: Final = 0xA900
CLASS_NOT_SUPPORTED: Final = 0x0122
SYNTAX_NOT_SUPPORTED: Final = 0xC122
NOT_UNDERSTOOD: Final = 0xC000
STATUSES: Final[Mapping[int, str]] = {
    OK: "the object is on disk, or was received before; also where it is no frontal chest film",
    DISCARDED: "another object with this UID was received before, and is the one that counts",
    OUT_OF_RESOURCES: "over the limit, or too many objects wait, or the store does not answer: send it later",
    NOT_MATCHING: "the object's class, UID or study is not that of the request, or it has no study or no series",
    CLASS_NOT_SUPPORTED: "the object's class is none of the table",
    SYNTAX_NOT_SUPPORTED: "the object's transfer syntax is none of the table",
    NOT_UNDERSTOOD: "the object is damaged, or does not say what it is",
}
