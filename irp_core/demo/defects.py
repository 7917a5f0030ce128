"""What each defect of the demo plant does to a plate: a scene and a severity in, a flaw to compose out.

Example:
    >>> from irp_core.demo.render import build_scene
    >>> scene = build_scene(np.random.default_rng(0), size=64, position=0.5, odd=None)
    >>> flaw = DEFECTS["scratch"](np.random.default_rng(1), scene, 0.8)
    >>> flaw.gain.shape, bool((flaw.gain != 1).any())
    ((64, 64), True)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from irp_core.demo.render import (
    BOLTS,
    BORE,
    BORE_RADIUS,
    HALF_HEIGHT,
    Field,
    Flaw,
    Scene,
    cloud,
    mix,
    step,
)

__all__ = ["DEFECTS"]


def _scratch(rng: np.random.Generator, scene: Scene, severity: float) -> Flaw:
    """One to four grooves: a bright burr beside a dark furrow, tapered, with skips where the tool jumped."""
    gain = np.ones_like(scene.u)
    direction = rng.uniform(0.5, np.pi - 0.5)  # along the grain nobody would see it
    for _ in range(1 + int(rng.uniform(0.5, 1.0 + 4 * severity))):
        u, v = _spot(rng, 0.75)
        turn = direction + rng.normal(0, 0.15)
        du, dv = scene.u - u, scene.v - v
        along, across = du * math.cos(turn) + dv * math.sin(turn), dv * math.cos(turn) - du * math.sin(turn)
        half = rng.uniform(0.20, 0.32) + 0.45 * severity * rng.uniform(0.5, 1)
        across = across - rng.normal(0, 0.25) * along**2 - 0.012 * np.sin(along * rng.uniform(6, 14))
        width = max(0.008 + 0.010 * severity, 0.6 * scene.pixel)
        reach = np.clip(1 - (along / half) ** 2, 0, 1)
        skips = np.clip(0.8 + 0.5 * np.sin(along * rng.uniform(9, 30) + rng.uniform(0, 6)), 0, 1)
        depth = (0.26 + 0.75 * severity) * np.sqrt(reach) * skips
        burr = np.exp(-(((across - 0.9 * width) / width) ** 2))
        furrow = np.exp(-(((across + 0.7 * width) / width) ** 2))
        gain *= 1 + depth * (0.75 * burr - 0.6 * furrow)
    return Flaw(gain=gain.astype(np.float32))


def _blowhole(rng: np.random.Generator, scene: Scene, severity: float) -> Flaw:
    """Pores of the casting: one pit, or a nest of them, black inside, with a lit far rim."""
    gain = np.ones_like(scene.u)
    u, v = _spot(rng, 0.8)
    for pit in range(1 + int(rng.uniform(0, 2 + 7 * severity))):
        radius = (0.032 + 0.070 * severity) * (1.0 if pit == 0 else rng.uniform(0.25, 0.7))
        spread = 0.0 if pit == 0 else 0.16
        r, angle = scene.polar((u + rng.normal(0, spread), v + rng.normal(0, spread)))
        q = r / (radius * _lobes(rng, angle, 0.09))
        inside = np.clip((1 - q) * radius / (1.3 * scene.pixel) + 0.5, 0, 1)
        wall = 0.65 * np.clip(q, 0, 1) ** 2 * np.maximum(-np.cos(angle), 0)
        pit_gain = 1 - (0.42 + 0.48 * severity) * (1 - wall)
        rim = 0.35 * severity * np.exp(-(((q - 1.15) / 0.2) ** 2)) * np.maximum(-np.cos(angle), 0)
        gain = mix(gain, pit_gain, inside) + rim * (1 - inside)
    return Flaw(gain=gain)


def _stain(rng: np.random.Generator, scene: Scene, severity: float) -> Flaw:
    """Dried coolant, rust or heat tint: a blotch with an uneven body and a darker tide mark."""
    u, v = _spot(rng, 0.65)
    r, angle = scene.polar((u, v))
    radius = (0.18 + 0.22 * severity) * rng.uniform(0.85, 1.15)
    level = 1 - r / (radius * _lobes(rng, angle, 0.08))
    level += 0.22 * cloud(rng, scene.size, 7) + 0.09 * cloud(rng, scene.size, 22)  # bays and islands
    body = np.clip(level / 0.30 + 0.4, 0, 1) * (0.72 + 0.2 * cloud(rng, scene.size, 10))
    tide = np.exp(-(((level - 0.02) / 0.06) ** 2)) * np.clip(0.5 + 0.6 * cloud(rng, scene.size, 6), 0, 1)
    absorbs = np.array([(0.24, 0.44, 0.70), (0.50, 0.48, 0.46), (0.50, 0.36, 0.16)], np.float32)
    strength = 0.20 + 0.80 * severity
    wet = np.clip(body + 0.55 * tide, 0, 1.25)[..., None] * absorbs[rng.integers(3)]
    return Flaw(gain=np.asarray(1 - strength * wet, np.float32))


def _chipped_edge(rng: np.random.Generator, scene: Scene, severity: float) -> Flaw:
    """A bite out of the outline, and around it the rough facets of the fracture."""
    along = rng.uniform(-0.7, 0.7)
    spots = ((along, -HALF_HEIGHT), (along, HALF_HEIGHT), (-1.0, along * 0.8), (1.0, along * 0.8))
    r, angle = scene.polar(spots[rng.integers(4)])
    radius = (0.065 + 0.15 * severity) * _lobes(rng, angle, 0.17)
    bite = 0.68 * radius - r  # positive inside, where there is no metal any more
    facets = 0.75 + 0.5 * cloud(rng, scene.size, 26) + 0.3 * np.cos(angle + rng.uniform(-1, 1))
    rim = np.clip((radius - r) / (0.5 * scene.pixel + 0.01), 0, 1)
    return Flaw(gain=mix(np.ones_like(r), np.clip(facets, 0.25, 1.7), rim * (0.45 + 0.55 * severity)), bite=bite)


def _missing_print(rng: np.random.Generator, scene: Scene, severity: float) -> Flaw:
    """The printer ran dry or the part was wiped: a share of the ink, from a tenth to all of it, is gone."""
    turn = rng.uniform(0, 2 * np.pi)
    order = scene.u * math.cos(turn) + scene.v * math.sin(turn) + 0.10 * cloud(rng, scene.size, 7)
    share = 0.10 + 0.90 * severity
    front = float(np.quantile(order[scene.ink > 0.3], min(share, 1.0)))
    gone = np.clip((front - order) / 0.05 + 0.5, 0, 1) if share < 0.99 else np.ones_like(order)
    residue = np.clip(0.25 - 0.25 * severity + 0.12 * cloud(rng, scene.size, 40), 0, 1)
    return Flaw(keep=np.asarray(1 - gone * (1 - residue), np.float32))


def _foreign_particle(rng: np.random.Generator, scene: Scene, severity: float) -> Flaw:
    """Something lies on the plate and throws a shadow: a fibre, a crumb of plastic, or a curl of swarf."""
    u, v = _spot(rng, 0.75)
    turn, kind = rng.uniform(0, 2 * np.pi), rng.integers(3)
    reach = 0.09 + 0.20 * severity
    if kind == 1:
        r, angle = scene.polar((u, v))
        shape = step(0.42 * reach * _lobes(rng, angle, 0.28) - r, scene.pixel)
        paint = np.array([(0.10, 0.26, 0.62), (0.78, 0.34, 0.08), (0.10, 0.10, 0.11), (0.82, 0.80, 0.74)])
        dome = 0.8 + 0.6 * np.cos(angle) * r / reach + 0.12 * cloud(rng, scene.size, 50)
        gloss = 0.5 * np.exp(-(((r - 0.2 * reach) / (0.1 * reach)) ** 2) - (np.sin(angle / 2) / 0.6) ** 2)
        colour = paint[rng.integers(4)] * dome[..., None] + gloss[..., None]
    else:
        t = np.linspace(-1, 1, 90)
        if kind == 0:  # fibre
            a, b = reach * t, reach * (rng.normal(0, 0.5) * t**2 + rng.normal(0, 0.4) * t**3)
            thick, colour = (
                0.011 + 0.006 * severity,
                np.array([(0.13, 0.12, 0.12), (0.86, 0.84, 0.80), (0.60, 0.12, 0.12)])[rng.integers(3)],
            )
        else:  # swarf
            coil, wound = rng.uniform(5, 10), (0.55 + 0.45 * t) * rng.uniform(0.25, 0.42)
            a = reach * (0.75 * t + 0.7 * wound * np.cos(coil * t))
            b = reach * (wound * np.sin(coil * t + 0.6 * t**2) + rng.normal(0, 0.25) * t**2)
            thick = 0.016 + 0.010 * severity
            glint = np.clip(
                0.62 + 0.35 * cloud(rng, scene.size, 24), 0.2, 1.05
            )  # metal mirrors light and dark by turns
            colour = glint[..., None] * np.array((1.0, 0.97, 0.90))
        points = (u + a * math.cos(turn) - b * math.sin(turn), v + a * math.sin(turn) + b * math.cos(turn))
        shape = _stroke(scene, points, thick)
    offset = 0.022 / scene.pixel
    fall = (-math.sin(scene.light) * offset, -math.cos(scene.light) * offset)
    soft = ndimage.gaussian_filter(shape, max(0.5, 0.012 / scene.pixel))
    shadow = ndimage.shift(soft, fall, order=1)
    opaque = 0.50 + 0.50 * severity  # oily film and transparent plastic are hard to see
    return Flaw(gain=1 - 0.6 * opaque * shadow, alpha=opaque * shape, colour=np.asarray(colour, np.float32))


DEFECTS: dict[str, Callable[[np.random.Generator, Scene, float], Flaw]] = {
    "scratch": _scratch,
    "blowhole": _blowhole,
    "stain": _stain,
    "chipped_edge": _chipped_edge,
    "missing_print": _missing_print,
    "foreign_particle": _foreign_particle,
}


def _spot(rng: np.random.Generator, extent: float) -> tuple[float, float]:
    """A place on the plate's flat, clear of the bore and the bolt holes."""
    while True:
        u, v = rng.uniform(-1, 1) * extent, rng.uniform(-1, 1) * extent * HALF_HEIGHT
        holes = ((BORE, BORE_RADIUS + 0.09), *((bolt, 0.18) for bolt in BOLTS))
        if all(math.hypot(u - centre[0], v - centre[1]) > reach for centre, reach in holes):
            return u, v


def _lobes(rng: np.random.Generator, angle: Field, depth: float) -> Field:
    """Radius of an irregular outline, about 1, as a function of the angle."""
    waves = [rng.normal(0, depth / k**0.6) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 5, 8)]
    return np.asarray(np.clip(1 + sum(waves), 0.4, 1.6), np.float32)


def _stroke(scene: Scene, points: tuple[Field, Field], thick: float) -> Field:
    """Coverage of a smooth line through `points` (u, v), drawn at four times the size to anti-alias it."""
    origin_u, origin_v = scene.u[0, 0], scene.v[0, 0]
    across, down = scene.u[0, 1] - origin_u, scene.v[0, 1] - origin_v  # one column step, in plate units
    du, dv = points[0] - origin_u, points[1] - origin_v
    norm = across**2 + down**2
    cols, rows = (du * across + dv * down) / norm, (dv * across - du * down) / norm
    page = Image.new("L", (4 * scene.size, 4 * scene.size), 0)
    path = [(float(4 * c + 2), float(4 * r + 2)) for c, r in zip(cols, rows, strict=True)]
    ImageDraw.Draw(page).line(path, fill=255, width=max(3, round(4 * thick / scene.pixel)), joint="curve")
    return np.asarray(page.resize((scene.size, scene.size), Image.Resampling.BOX), np.float32) / 255
