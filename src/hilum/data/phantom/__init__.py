"""Synthetic frontal chest films whose truth is known, for demonstration and tests. No patient is shown.

A film is made as a film is made: bodies with soft tissue, lungs and bone; Beer-Lambert attenuation, scatter and
quantum noise; a hospital's tone curve, marks and file format. See docs/phantom.md.
"""

from hilum.data.phantom.acquisition import HOSPITALS, NORTH, SOUTH, Hospital
from hilum.data.phantom.collection import CLASSES, Collection, Planned, collection
from hilum.data.phantom.findings import USUAL, Finding
from hilum.data.phantom.folder import demo_collection, write
from hilum.data.phantom.render import Facts, PhantomFilm, film
from hilum.data.phantom.shortcuts import KINDS, LEAKS, Shortcut

__all__ = [
    "CLASSES",
    "HOSPITALS",
    "KINDS",
    "LEAKS",
    "NORTH",
    "SOUTH",
    "USUAL",
    "Collection",
    "Facts",
    "Finding",
    "Hospital",
    "PhantomFilm",
    "Planned",
    "Shortcut",
    "collection",
    "demo_collection",
    "film",
    "write",
]
