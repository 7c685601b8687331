"""The local store of backbone weights: a safetensors file and a page of facts (JSON) for each, under the cache folder.

Every read checks the file's SHA-256 against its page, so a damaged file is never used. No torch here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hilum.errors import WeightsError
from hilum.files import cache_folder, write_json

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Stored:
    """One backbone's weights in the store. mean, std: how the three channels were normalised in training."""

    timm: str
    sha256: str
    size_bytes: int
    origin: str
    licence: str | None
    mean: Triple
    std: Triple

    @property
    def path(self) -> Path:
        return folder() / f"{self.timm}.safetensors"


def folder() -> Path:
    """Where the weights are kept: `weights` under the cache folder."""
    return cache_folder() / "weights"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put(file: Path, timm: str, *, origin: str, licence: str | None, mean: Triple, std: Triple) -> Stored:
    """Move a finished file from the store's own disk into the store; what was there by that name is replaced."""
    stored = Stored(timm, sha256(file), file.stat().st_size, origin, licence, mean, std)
    # A crash between the two leaves a file that disagrees with its page, which the next read finds out.
    file.replace(stored.path)
    write_json(stored.path.with_suffix(".json"), asdict(stored))
    return stored


def get(timm: str) -> Stored | None:
    """What the store holds for `architecture.tag`, not yet checked; None where it holds nothing."""
    # Not with_suffix: the tag would be taken for one.
    page = folder() / f"{timm}.json"
    if not page.is_file() or not (folder() / f"{timm}.safetensors").is_file():
        return None
    try:
        facts = json.loads(page.read_text(encoding="utf-8"))
        return Stored(**{**facts, "mean": tuple(facts["mean"]), "std": tuple(facts["std"])})
    except (ValueError, TypeError, KeyError):
        raise WeightsError(
            "the page of facts is damaged", where=str(page), next_step="Delete it, then fetch or import again."
        ) from None


def everything() -> list[Stored]:
    """All that the store holds, by name."""
    names = sorted(path.name.removesuffix(".json") for path in folder().glob("[!.]*.json"))
    return [stored for name in names if (stored := get(name)) is not None]


def is_whole(stored: Stored) -> bool:
    """Whether the file is still what was put there."""
    return stored.path.stat().st_size == stored.size_bytes and sha256(stored.path) == stored.sha256


def checked(stored: Stored) -> Stored:
    """The same, after its SHA-256 was compared; refused with WeightsError when it differs."""
    if is_whole(stored):
        return stored
    raise WeightsError(
        f"the stored weights of {stored.timm} are damaged: their SHA-256 is not {stored.sha256[:12]}…",
        where=str(stored.path),
        next_step=f"Run `hilum weights fetch {stored.timm}`, or import the file again.",
    )
