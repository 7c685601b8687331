"""Attributes in DICOM's JSON model (PS3.18 F.2), made of what the index knows; objects are left to pydicom."""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

Attributes = dict[str, Any]


def attribute(keyword: str, *values: object) -> Attributes:
    """One attribute by its tag, with those of the values that are known.

    >>> attribute("StudyDate", "20240305"), attribute("PatientID", None)
    ({'00080020': {'vr': 'DA', 'Value': ['20240305']}}, {'00100020': {'vr': 'LO'}})
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"there is no attribute {keyword}")
    known = [value for value in values if value not in (None, "")]
    return {f"{tag:08X}": {"vr": dictionary_VR(tag), **({"Value": known} if known else {})}}


def attributes(**values: object) -> Attributes:
    """Several attributes of one value each."""
    made: Attributes = {}
    for keyword, value in values.items():
        made |= attribute(keyword, *(value if isinstance(value, list) else [value]))
    return made
