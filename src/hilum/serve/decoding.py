"""Films decoded in processes of their own, with limits of memory and time, because a decoder may crash, loop or swell.

A process is kept for the next film; one that dies or takes too long is replaced, and its film alone has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import FilmError
from hilum.image.taken import taken_in
from hilum.image.workers import Worker
from hilum.recipe.schema import Prepare
from hilum.serve.gate import doubts_of

SECONDS_PER_FILM = 60.0
# An 80 Mpx film of three colours in 16 bits needs 0.5 GiB, and a few copies on its way to grey.
BYTES_OF_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Examined:
    """A film as the networks see it, and what is known of its file.

    squares: uint8 (side, side) for each preparation. patient_id: as DICOM has it; kept as a keyed hash only.
    """

    squares: tuple[NDArray[np.uint8], ...]
    kind: str
    width: int
    height: int
    view: str | None
    patient_id: str | None
    doubts: tuple[str, ...]


def examined(data: bytes, hows: Sequence[Prepare], lungs: bool) -> Examined:
    """Decode a film's bytes, prepare it each way, and look whether it is a whole frontal film of a chest.

    FilmError where it cannot be read, or says of itself that it is no film of the chest.
    """
    film = taken_in(data, hows, gate=lungs)
    return Examined(
        tuple(each.pixels for each in film.prepared),
        film.facts.format,
        film.facts.width,
        film.facts.height,
        film.header.view if film.header else None,
        film.header.patient_id if film.header else None,
        tuple(doubts_of(film, lungs=lungs)),
    )


class Decoder:
    """One process that examines films; used by one thread."""

    def __init__(self, hows: Sequence[Prepare], *, lungs: bool, seconds: float = SECONDS_PER_FILM) -> None:
        self._job = partial(examined, hows=tuple(hows), lungs=lungs)
        self._seconds = seconds
        self._process: Worker | None = None

    def __call__(self, data: bytes) -> Examined:
        """The film; FilmError where it is none, or where its decoder died or was stopped."""
        process = self._ready()
        try:
            (answer,) = process.ask(self._job, [data], seconds=self._seconds)
        except (OSError, EOFError):
            self.close()
            raise FilmError(
                f"the decoder crashed on this film, or took over {self._seconds:.0f} s and was stopped"
            ) from None
        except RuntimeError:  # what the process was not written to expect, as a library's own error
            raise FilmError("the picture is damaged, or of a kind that is not read") from None
        if isinstance(answer, FilmError):
            raise answer
        found: Examined = answer
        return found

    def start(self) -> None:
        """Start the process now, so that the first film does not wait for it."""
        self._ready()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _ready(self) -> Worker:
        if self._process is None:
            self._process = Worker.start()
            self._process.greet()
            self._process.ask(limit_memory, [BYTES_OF_MEMORY])
        return self._process


def limit_memory(most_bytes: int) -> Any:
    """Have this process fail with MemoryError, and not the machine, where a film needs more."""
    import resource  # which Windows has not

    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
