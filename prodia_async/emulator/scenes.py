"""Scenes: a picture made up from the words of a prompt and a seed."""

from __future__ import annotations

import functools
import random
import re
from typing import TYPE_CHECKING, TypeVar

from PIL import Image, ImageChops

from prodia_async.emulator.canvas import Canvas
from prodia_async.emulator.details import WEATHER
from prodia_async.emulator.motifs import MOTIFS
from prodia_async.emulator.palettes import DAY, DUSK, NIGHT, scene_table

if TYPE_CHECKING:
    from collections.abc import Mapping

_Choice = TypeVar("_Choice")

# Below this many pixels a scene is drawn twice as large and made smaller, which makes its edges smooth.
_SMOOTH_BELOW = 1_000_000
_MOST_WORDS = 200
_GRAIN = 7


def _by_word(words: Mapping[_Choice, str]) -> dict[str, _Choice]:
    return {word: choice for choice, listed in words.items() for word in listed.split()}


# What a prompt's words ask for: the first word that is known decides.
_SKIES = _by_word(
    {
        NIGHT: "night dark moon star stars midnight aurora eclipse firefly fireflies comet lamp space planet "
        "neon asleep sleeping cinematic nebula galaxy bonfire",
        DUSK: "dawn dusk sunset sunrise evening golden autumn warm amber volcanic desert fire lantern "
        "nouveau",
        DAY: "noon morning spring summer snow frost pastel garden meadow day blossoming sunflowers bicycle "
        "isometric gouache pencil",
    }
)
_MOTIFS = _by_word(
    {
        "sea": "sea harbour coast ferry boat ship wave waves otters lighthouse island kingfisher river pond "
        "ocean tide",
        "city": "city town street skyscrapers fairground tram market subway robot petrol bicycle lisbon",
        "forest": "forest tree trees orchard baobab cherry roots leaves fox autumn woods wisteria",
        "mountains": "mountain mountains village snow cliff waterfall dragon alps winter",
        "desert": "desert caravan salt dune dunes camel sand bridge",
        "space": "moon space astronaut comet planet stars eclipse rocket nebula galaxy",
        "meadow": "meadow field garden sunflowers poppies tortoise snails flowers maze greenhouse",
        "clouds": "balloon clouds cloud sky jellyfish fog aurora tea",
        "room": "library workshop baker oven bench theatre book clock violin radio chess room piazza map",
        "water": "whale fish submarine reef seal underwater lake galley ramen coral",
        "hills": "hill hills valley farm bread vineyard",
    }
)
_WEATHER = _by_word(
    {
        "snow": "snow frost frozen winter snowstorm",
        "rain": "rain rainy storm thunderstorm",
        "lights": "fireflies firefly lamp lamps lanterns comet market glowing",
        "birds": "birds pigeons crow petrel kingfisher dawn morning golden noon",
    }
)
_FLAT = frozenset({"poster", "woodblock", "linocut", "woodcut", "flat", "print", "gouache"})
_GRAINY = frozenset({"grainy", "film", "pencil", "charcoal", "photograph", "oil", "brushwork"})


def paint(prompt: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """Return an RGB picture of `size`: its words choose the motif and the light, the seed all else."""
    words = re.findall(r"\w+", prompt[: _MOST_WORDS * 10].lower())[:_MOST_WORDS]
    # Seeded by bytes: the same picture in every process and on every machine.
    own = f"{seed} {prompt}".encode("utf-8", "surrogatepass")
    chance = random.Random(own)  # noqa: S311 - the same scene for the same seed, no secret
    factor = 2 if size[0] * size[1] < _SMOOTH_BELOW else 1
    picture = _coloured(words, chance, (size[0] * factor, size[1] * factor))
    return picture.reduce(factor) if factor > 1 else picture


def _coloured(words: list[str], chance: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return the scene for these words, drawn in this size."""
    canvas = Canvas(size, chance)
    skies = _named(words, _SKIES) or chance.choice((NIGHT, DUSK, DAY, DAY))
    table = scene_table(chance.choice(skies), chance.randrange(5))
    canvas.sky(bands=7 if _FLAT & set(words) else 0)
    if skies is NIGHT:
        canvas.stars(60)
    motif = _named(words, _MOTIFS) or chance.choice(sorted(MOTIFS))
    MOTIFS[motif](canvas)
    weather = _named(words, _WEATHER)
    if weather is not None:
        WEATHER[weather](canvas)
    tones = canvas.picture
    if _GRAINY & set(words):
        tones = ImageChops.add(tones, _grain(size), 1, -_GRAIN)
    tones.putpalette(table)
    return tones.convert("RGB")


def _named(words: list[str], choices: Mapping[str, _Choice]) -> _Choice | None:
    return next((choices[word] for word in words if word in choices), None)


@functools.lru_cache(maxsize=2)
def _grain(size: tuple[int, int]) -> Image.Image:
    """Return a little noise, as of a film or of paper."""
    chance = random.Random(0)  # noqa: S311 - the same grain for all
    tile = Image.frombytes("L", (256, 256), chance.randbytes(256 * 256))
    tile = tile.point([tone * 2 * _GRAIN // 255 for tone in range(256)])
    noise = Image.new("L", size)
    for top in range(0, noise.height, tile.height):
        for left in range(0, noise.width, tile.width):
            noise.paste(tile, (left, top))
    return noise
