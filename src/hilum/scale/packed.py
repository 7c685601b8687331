"""Runs as their files, in which form they travel between the driver and the nodes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hilum.files import whole_file
from hilum.predict.members import members_of

# Files by their paths below a folder, in the order in which they were written.
Packed = dict[str, bytes]


def packed(folder: Path) -> Packed:
    """The files below a folder, in the order in which they were written."""
    return _read(folder.rglob("*"), folder)


def unpacked(files: Packed, folder: Path) -> None:
    """Write the files below a folder, each whole, in their order: so a run of which some are there can be gone on with.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> unpacked({"recipe.toml": b"", "figures/roc.svg": b"<svg/>"}, folder)
    >>> packed(folder)
    {'recipe.toml': b'', 'figures/roc.svg': b'<svg/>'}
    """
    for name, data in files.items():
        with whole_file(folder / name) as part:
            part.write_bytes(data)


def packed_network(path: Path) -> tuple[str, Packed]:
    """All that `hilum.predict.predictor.load` needs of a path, and what the path is among the unpacked files.

    Refused as by `members_of`.
    """
    path = _absolute(path)
    if path.is_file():
        return path.name, _read(path.parent.glob(f"{path.stem}.*"), path.parent)
    folders = list(dict.fromkeys([path, *(_absolute(weights.parent) for weights in members_of(path).weights)]))
    root = Path(os.path.commonpath([folder.parent for folder in folders]))
    files = [file for folder in folders for file in folder.rglob("*")]
    return path.relative_to(root).as_posix(), _read(files, root)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - an ensemble names its members by ../, and no link is followed


def _read(paths: Iterable[Path], root: Path) -> Packed:
    files = sorted({path for path in paths if path.is_file()}, key=lambda path: (path.stat().st_mtime_ns, path))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
