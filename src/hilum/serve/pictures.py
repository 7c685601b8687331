"""Pictures of films: the film itself, its lungs' outline, and where a network's answer comes from, as PNG."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.errors import FilmError
from hilum.explain.geometry import place_of
from hilum.explain.maps import maps, need_method
from hilum.image.decode import decode
from hilum.image.facts import reason
from hilum.image.prepare import lungs_of, prepared
from hilum.recipe.schema import Prepare
from hilum.serve.errors import GoneError, NotFoundError, UnreadableError
from hilum.serve.models import Model
from hilum.serve.store.folder import StoreFolder

# A screen of a reading room shows no more, and a browser of a phone holds no more.
LONGEST_PX = 2048
THUMB_PX = 320
_HELD = 24
# A map in logits has full colour from here on, or from its highest place where that is more: a weak map looks weak, and
# a strong one still tells its places apart.
FULL_LOGITS = 6.0
# As in the reports (report.overlay): sky blue, apart from every colour of the map, for any colour vision; and inferno
# from here on, as its darkest are none on a dark film, and so opaque at the top. In OpenCV's order.
_OUTLINE = (233, 180, 86)
_FIRST_COLOUR, _OPACITY = 0.45, 0.75
# The outline is drawn on a grid of at least this many pixels, so that it is smooth over a small film.
_OUTLINE_PX = 1600


@dataclass(frozen=True)
class MapPicture:
    """png: RGBA, transparent where nothing speaks for the class. full: the value of full colour, in `unit`."""

    png: bytes
    full: float
    highest: float
    unit: str


@dataclass(frozen=True)
class Overlay:
    """A film and its map, as large as each other. film: grey (H, W); colours: BGRA (H, W, 4), as `coloured` makes them;
    full, highest, unit: as of `MapPicture`."""

    film: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    full: float
    highest: float
    unit: str


P = TypeVar("P", bytes, MapPicture)


class Pictures:
    """Makes pictures of films that the store keeps; the last few are held. One map at a time is computed."""

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder
        self._held: OrderedDict[tuple[str, ...], bytes | MapPicture] = OrderedDict()
        self._lock, self._mapping = threading.Lock(), threading.Lock()

    def film(self, film_id: str, *, longest_px: int = LONGEST_PX) -> bytes:
        """The film, grey PNG of its own aspect. GoneError where its file is not kept."""
        key = (film_id, "film", str(longest_px))
        held = self._get(key)
        if isinstance(held, bytes):
            return held
        pixels = _smaller(self._pixels(film_id, longest_px), longest_px)
        return self._put(key, _png(pixels))

    def lungs(self, film_id: str) -> bytes:
        """The outline of the lungs, RGBA PNG as large as `film`'s. NotFoundError where no lungs are believed."""
        key = (film_id, "lungs")
        held = self._get(key)
        if isinstance(held, bytes):
            return held
        pixels = _smaller(self._pixels(film_id, LONGEST_PX), LONGEST_PX)
        found = lungs_of(pixels)
        if found.doubt:
            raise NotFoundError(f"no lungs are believed on this film: {found.doubt}")
        factor = -(-_OUTLINE_PX // max(pixels.shape))
        height, width = (side * factor for side in pixels.shape)
        outlines, _ = cv2.findContours(
            found.mask(height, width).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        alpha = np.zeros((height, width), np.uint8)
        cv2.drawContours(alpha, outlines, -1, 255, max(2, round(max(height, width) / 450)), cv2.LINE_AA)
        drawn = np.empty((height, width, 4), np.uint8)
        drawn[..., :3], drawn[..., 3] = _OUTLINE, alpha
        return self._put(key, _png(drawn))

    def square(self, film_id: str, how: Prepare) -> NDArray[np.uint8]:
        """The film as a network takes it, uint8 (side, side)."""
        return prepared(self._pixels(film_id, LONGEST_PX), how).pixels

    def map(self, film_id: str, model: Model, method: str, class_: str) -> MapPicture:
        """Where the model's answer for a class comes from, laid on the film. NotFoundError: no such method or class."""
        key = (film_id, model.model_id, method, class_)
        held = self._get(key)
        if isinstance(held, MapPicture):
            return held
        made = self.overlay(film_id, model, method, class_)
        return self._put(key, MapPicture(_png(made.colours), made.full, made.highest, made.unit))

    def overlay(self, film_id: str, model: Model, method: str, class_: str, *, longest_px: int = LONGEST_PX) -> Overlay:
        """The same as pixels, with the film. Refused as `map` is."""
        if class_ not in model.classes:
            raise NotFoundError("the model has no such class", next_step=f"It has: {', '.join(model.classes)}.")
        how = need_method(method)
        pixels = self._pixels(film_id, LONGEST_PX)
        # Of several networks the first: a mean of maps of different preparations would be of none of them.
        network = model.predictor.networks[0]
        square = prepared(pixels, network.preparation).pixels
        number = np.array([model.classes.index(class_)])
        with self._mapping:
            values = maps(network.engine.classifier, square[None], number, method).values[0]
        laid = place_of(pixels, network.preparation).on_film(values)
        highest = float(laid.max())
        full = max(highest, FULL_LOGITS if how.unit == "logits" else 1e-9)
        film = _smaller(pixels, longest_px)
        laid = cv2.resize(laid, (film.shape[1], film.shape[0]), interpolation=cv2.INTER_LINEAR)
        return Overlay(film, coloured(laid, full), full, highest, how.unit)

    def forget(self, film_id: str) -> None:
        """Drop what is held of a film."""
        with self._lock:
            for key in [key for key in self._held if key[0] == film_id]:
                del self._held[key]

    def _pixels(self, film_id: str, least_px: int) -> NDArray[np.uint8]:
        try:
            return decode(self._folder.film(film_id).read_bytes(), at_least_px=least_px).pixels
        except OSError:
            raise GoneError(
                "the film's file is not kept", next_step="Send it again, or start the server with a longer --keep."
            ) from None
        except FilmError as error:
            raise UnreadableError(reason(error)) from None

    def _get(self, key: tuple[str, ...]) -> bytes | MapPicture | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def _put(self, key: tuple[str, ...], value: P) -> P:
        with self._lock:
            self._held[key] = value
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return value


def coloured(values: NDArray[np.float32], full: float) -> NDArray[np.uint8]:
    """A map (H, W) as BGRA: OpenCV's inferno, which survives colour blindness; nothing where it is not positive.

    >>> coloured(np.array([[-1.0, 0.0, 3.0, 6.0]], np.float32), 6.0)[0, :, 3].tolist()
    [0, 0, 96, 191]
    """
    share = np.clip(values / full, 0.0, 1.0)
    grades = np.ascontiguousarray(np.round(255 * (_FIRST_COLOUR + (1 - _FIRST_COLOUR) * share)).astype(np.uint8))
    picture = cv2.cvtColor(cv2.applyColorMap(grades, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2BGRA)
    picture[..., 3] = np.round(_OPACITY * 255 * share).astype(np.uint8)
    return np.asarray(picture, np.uint8)


def _smaller(pixels: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    longest = max(pixels.shape)
    if longest <= longest_px:
        return pixels
    height, width = (max(1, round(side * longest_px / longest)) for side in pixels.shape)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _png(picture: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise UnreadableError("the picture cannot be made")
    return data.tobytes()
