"""From films to maps with a trained network, on the film's own pixels, with the lungs beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.errors import FilmError, RequestError
from hilum.explain import judge
from hilum.explain.geometry import Place, place_of
from hilum.explain.maps import maps, need_method
from hilum.explain.part import trained
from hilum.image.decode import decode
from hilum.image.prepare import lungs_of
from hilum.image.taken import taken_in
from hilum.image.workers import map_films
from hilum.model.classifier import read_metadata
from hilum.model.engine import Engine
from hilum.model.inference import BATCH, softmax
from hilum.recipe.schema import Prepare

Films = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_NOT_SIDE_BY_SIDE = ("lateral", "oblique", "axial", "coronal")


@dataclass(frozen=True)
class Seen:
    """A film as the network sees it, uint8 (side, side), with the lungs on that square, bool (side, side).

    place: where on the film the square lies. doubt: why the lungs are not believed, which are then empty; "" else.
    """

    pixels: Films
    place: Place
    lungs: Mask
    doubt: str


@dataclass(frozen=True)
class FilmMap:
    """A map of one film for a class number: heat (side, side) in `Method.unit`; logits z, probabilities p (K,)."""

    seen: Seen
    heat: Floats
    class_: int
    z: Floats
    p: NDArray[np.float64]

    @property
    def inside_lungs(self) -> float:
        """Share of the map's mass inside the lungs; NaN where no lungs are believed or the map is nowhere positive.

        What speaks for the class from the black that is added around a film counts as outside.
        """
        return math.nan if self.seen.doubt else judge.mass_inside(self.heat, self.seen.lungs)

    def on_film(self) -> Floats:
        """The map on the film's own pixels, (H, W)."""
        return self.seen.place.on_film(self.heat)


class Explainer:
    """A run's network, ready to be asked where its answers come from.

    Refused with RequestError: a folder that is no run, a cross-validation or an ensemble (name one of its runs); with
    WeightsError: broken weights.
    """

    def __init__(self, run: Path | str) -> None:
        self.network = trained(run)
        # Where the run averages a film and its mirror image, so does the map of its answer.
        about = read_metadata(self.network.run.weights_path)
        self.flip = bool(about.get("flip", False))
        self._engine = Engine(self.network.classifier, flip=self.flip, zoom=float(about.get("zoom", 0.0)))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.network.classes

    def maps(
        self, paths: Sequence[Path], method: str = "grad-cam", class_: str | None = None, *, workers: int | None = 1
    ) -> Iterator[tuple[int, FilmMap | FilmError]]:
        """(index, map) of each film, or (index, FilmError) where one cannot be read, in any order.

        class_: for which class; by default the one that is called. workers: processes that decode; None is one per
        core. Refused with RequestError: an unknown method or class.
        """
        need_method(method)
        number = self.class_number(class_)
        for batch in in_batches(self.look(paths, workers=workers)):
            yield from ((index, error) for index, error in batch if isinstance(error, FilmError))
            read = [(index, film) for index, film in batch if isinstance(film, Seen)]
            made = self.maps_of([film for _, film in read], method, number)
            yield from zip([index for index, _ in read], made, strict=True)

    def look(
        self, paths: Sequence[Path], views: Sequence[str] = (), *, workers: int | None = 1
    ) -> Iterator[tuple[int, Seen | FilmError]]:
        """(index, film as the network sees it, with its lungs), or (index, FilmError), in any order.

        views: of the films, as a manifest has them, "" where unknown.
        """
        items = list(zip(paths, views or [""] * len(paths), strict=True))
        return map_films(partial(_seen, how=self.network.preparation), items, workers=workers)

    def maps_of(self, films: Sequence[Seen], method: str, class_: int | None) -> list[FilmMap]:
        """The maps of films that were looked at, in their order; for a class number, or each for the class called."""
        if not films:
            return []
        squares = np.stack([film.pixels for film in films])
        z = self._engine(squares)
        classes = z.argmax(1) if class_ is None else np.full(len(films), class_, np.int64)
        values = maps(self.network.classifier, squares, classes, method).values
        if self.flip:
            mirrored = maps(self.network.classifier, squares[..., ::-1], classes, method).values
            values = (values + mirrored[..., ::-1]) / np.float32(2)
        p = softmax(z, self.network.temperature)
        return [FilmMap(*each) for each in zip(films, values, map(int, classes), z, p, strict=True)]

    def probabilities(self, films: Films) -> NDArray[np.float64]:
        """Calibrated probabilities (N, K) of prepared films, uint8 (N, side, side)."""
        batches = [self._engine(films[start : start + BATCH]) for start in range(0, len(films), BATCH)]
        return softmax(np.concatenate(batches), self.network.temperature)

    def class_number(self, name: str | None) -> int | None:
        """The number of a class; refused with RequestError, which names those that there are."""
        if name is None:
            return None
        if name not in self.classes:
            raise RequestError(
                f"the run has no class {name!r}", next_step=f"Its classes are: {', '.join(self.classes)}."
            )
        return self.classes.index(name)


def seen(path: Path, how: Prepare, *, view: str = "") -> Seen:
    """A film and its lungs as a preparation shows them; view: as a manifest has it, else the DICOM header's.

    Lungs are not believed where the view shows no two of them side by side. FilmError: not readable, or no film of the
    chest (DICOM).
    """
    (prepared,) = taken_in(path, [how], gate=False).prepared
    film = decode(path)
    place = place_of(film.pixels, how)
    view = view or (film.header.view if film.header else None) or ""
    found = lungs_of(film.pixels)
    doubt = f"the view is {view}" if view in _NOT_SIDE_BY_SIDE else found.doubt
    there = np.zeros(film.pixels.shape, bool) if doubt else found.mask(*film.pixels.shape)
    return Seen(prepared.pixels, place, place.on_square(there), doubt)


def _seen(item: tuple[Path, str], how: Prepare) -> Seen:
    return seen(item[0], how, view=item[1])


def in_batches(
    found: Iterable[tuple[int, Seen | FilmError]], size: int = BATCH
) -> Iterator[list[tuple[int, Seen | FilmError]]]:
    """The same, so many at a time."""
    batch: list[tuple[int, Seen | FilmError]] = []
    for each in found:
        batch.append(each)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
