"""Pictures that are used again: base patterns and decoded inputs, within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from PIL import Image


class PictureCache:
    """Keeps the pictures used last, at most `budget` bytes of them; safe to use from several threads.

    A picture that comes out of it is shared: copy it before drawing on it.
    """

    def __init__(self, budget: int = 96 * 1024 * 1024) -> None:
        self._budget = budget
        self._held = 0
        self._pictures: OrderedDict[Hashable, Image.Image] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Image.Image]) -> Image.Image:
        """Return the picture kept under `key`, or make it; two threads may make the same one at once."""
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture = make()
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = picture
                self._held += _size(picture)
            while self._held > self._budget:
                self._held -= _size(self._pictures.popitem(last=False)[1])
        return picture


def _size(picture: Image.Image) -> int:
    return picture.width * picture.height * len(picture.getbands())
