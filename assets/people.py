"""The people whom make_faces.py paints; none of them exists."""

from __future__ import annotations

from dataclasses import dataclass

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Person:
    """What makes one painted person; colours are sRGB, 0 to 255."""

    file: str
    seed: int
    identity: dict[int, float]
    skin: Color
    blush: Color
    lips: Color
    iris: Color
    hair: tuple[Color, Color]  # in shadow, in light
    brow_width: float
    lashes: float
    hairstyle: str
    cloth: Color
    background: tuple[Color, Color]  # in the middle, in the corners
    freckles: int = 0
    waves: float = 1.0  # of long hair
    jaw: float = 0.0  # how much narrower the lower face is, as a share
    smile: float = 0.3


PEOPLE = (
    Person(
        file="painted_ada.jpg", seed=4, identity={0: -0.6, 1: 0.4, 2: -0.4, 4: 0.4},
        skin=(236, 196, 172), blush=(222, 128, 112), lips=(196, 92, 92), iris=(84, 128, 112),
        hair=((74, 32, 18), (190, 104, 56)), brow_width=0.8, lashes=1.0, hairstyle="long",
        cloth=(52, 92, 104), background=((214, 206, 190), (128, 132, 128)), freckles=200, jaw=0.12, smile=0.3,
    ),
    Person(
        file="painted_kofi.jpg", seed=9, identity={0: 0.6, 1: -0.5, 3: 0.5, 6: -0.4},
        skin=(132, 84, 60), blush=(140, 66, 50), lips=(136, 72, 66), iris=(72, 44, 28),
        hair=((14, 11, 11), (66, 54, 50)), brow_width=1.15, lashes=0.45, hairstyle="curls",
        cloth=(206, 148, 54), background=((120, 150, 158), (44, 64, 76)),
        jaw=0.05, smile=0.25,
    ),
    Person(
        file="painted_lin.jpg", seed=21, identity={0: 0.1, 1: 0.3, 2: 0.5, 5: -0.4, 7: 0.3},
        skin=(232, 190, 156), blush=(216, 122, 102), lips=(188, 74, 80), iris=(66, 42, 30),
        hair=((16, 14, 18), (92, 86, 98)), brow_width=0.75, lashes=0.8, hairstyle="long",
        cloth=(178, 62, 58), background=((226, 218, 204), (176, 150, 136)),
        waves=0.15, jaw=0.09, smile=0.45,
    ),
)  # fmt: skip
