"""Draws one photograph of the demo plant: a brushed metal plate on a conveyor belt, sound or with one defect.

Everything is a field on the pixel grid, float32 (H, W), worked out in the plate's own coordinates (u to the
right, v down, the plate spans |u| <= 1 and |v| <= 0.84), so position and rotation jitter need no resampling
and every size shows the same part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

__all__ = ["ODD_KINDS", "Field", "Flaw", "Scene", "build_scene", "cloud", "compose", "expose", "mix", "step"]

ODD_KINDS: tuple[str, ...] = ("glare", "dark_frame", "unusual_grain")

Field = NDArray[np.floating[Any]]
HALF_HEIGHT, CORNER, CHAMFER, ZOOM = 0.84, 0.13, 0.035, 0.83
BORE, BORE_RADIUS, FACE_RADIUS = (-0.36, 0.0), 0.25, 0.56
BOLTS = ((-0.84, -0.67), (0.84, -0.67), (-0.84, 0.67), (0.84, 0.67))
PRINT = (0.30, -0.42, 0.92, 0.42)  # left, top, right, bottom


@dataclass(frozen=True)
class Scene:
    """What the camera sees before a defect touches the plate."""

    size: int
    u: Field
    v: Field
    pixel: float  # edge length of a pixel in plate units
    light: float  # direction that the light comes from, radians in plate coordinates
    edge: Field  # signed distance to the outline, negative inside
    surface: Field  # brightness of the bare plate
    ink: Field  # how much of the pixel the print covers, 0 to 1
    belt: Field
    lens: Field  # exposure x vignette x glare, (H, W, 3)
    noise: Field  # (H, W, 1)

    def polar(self, centre: tuple[float, float]) -> tuple[Field, Field]:
        """Distance from `centre` in plate units, and the angle against the light."""
        du, dv = self.u - centre[0], self.v - centre[1]
        return _length(du, dv), np.arctan2(dv, du) - self.light


@dataclass(frozen=True)
class Flaw:
    """What a defect does to a scene; the defaults do nothing."""

    gain: Field | None = None  # factor on the surface's brightness, (H, W) or (H, W, 3)
    alpha: Field | None = None  # how far something of another `colour` covers it
    colour: Field | float = 0.0  # (3,) or (H, W, 3)
    keep: Field | float = 1.0  # share of the ink that is left
    bite: Field | float = -9.0  # signed distance that cuts into the outline


def build_scene(rng: np.random.Generator, size: int, position: float, odd: str | None) -> Scene:
    """A sound plate under the camera, `size` pixels wide and high.

    Args:
        position: in the shift, in [0, 1]: how far the lamps have drifted.
        odd: one of `ODD_KINDS`, or None.

    Example:
        >>> scene = build_scene(np.random.default_rng(0), size=64, position=0.5, odd=None)
        >>> expose(scene, compose(scene, Flaw())).shape
        (64, 64, 3)
    """
    # Numbers go in as Python floats: numpy's own would turn every field into float64, at twice the time.
    drift = float(position) - 0.5
    turn, light = float(rng.normal(0, 0.022)), -2.2 + 0.25 * drift + float(rng.normal(0, 0.05))
    shift_x, shift_y, band_v = (float(s) for s in rng.normal(0, (0.018, 0.018, 0.08)))
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = np.meshgrid(axis, axis)
    c, s = math.cos(turn) / ZOOM, math.sin(turn) / ZOOM
    u, v = c * (x - shift_x) + s * (y - shift_y), c * (y - shift_y) - s * (x - shift_x)
    pixel = 2 / (size * ZOOM)
    edge = _outline(u, v)

    # Brushed metal: long streaks along u, and the band of light that brushing spreads across them.
    grain = _grain(rng, size, turn, odd == "unusual_grain")
    band = 0.16 * np.exp(-(((v - 0.25 * u + 0.25 + 0.5 * drift + band_v) / 0.5) ** 2))
    surface = 0.54 + 0.062 * grain + band + 0.025 * cloud(rng, size, 4)

    # The turned face around the bore: fine rings, and the bow tie of light that rings reflect.
    near = (np.abs(u - BORE[0]) < FACE_RADIUS + 0.05) & (np.abs(v - BORE[1]) < FACE_RADIUS + 0.05)
    surface[near] = _turn(rng, surface[near], u[near] - BORE[0], v[near] - BORE[1], 0.02 * grain[near], light, pixel)

    # Chamfer of the outline, bolt holes, bore: slopes are bright where they face the light.
    down, across = np.gradient(edge, pixel)  # along the image's axes
    facing = across * math.cos(light + turn) + down * math.sin(light + turn)
    surface = mix(surface, 0.55 + 0.36 * facing + 0.03 * grain, step(edge + CHAMFER, pixel))
    for centre, radius in (*((b, 0.07) for b in BOLTS), (BORE, BORE_RADIUS)):
        near = (np.abs(u - centre[0]) < radius + 0.1) & (np.abs(v - centre[1]) < radius + 0.1)
        surface[near] = _drill(surface[near], u[near] - centre[0], v[near] - centre[1], radius, light, pixel)

    # Rubber belt with a faint weave, and the plate's shadow on it, on the side away from the lamp.
    phase = [float(p) for p in rng.uniform(0, 2 * np.pi, 2)]
    weave = np.sin(62 * axis[:, None] + phase[1]) * np.sin(62 * axis + phase[0])
    belt = (
        0.15
        + (0.016 if size >= 128 else 0.0) * weave
        + 0.022 * cloud(rng, size, 9)
        + 0.02 * cloud(rng, size, size // 3)
    )
    shadow = _outline(u + 0.05 * math.cos(light), v + 0.05 * math.sin(light))
    belt = belt * (1 - 0.75 / (1 + np.exp(np.clip(shadow / 0.03, -30, 30))))

    exposure = 1.03 - 0.12 * drift + float(rng.normal(0, 0.015))
    warmth = np.array([1 + 0.05 * drift, 1.0, 1 - 0.07 * drift]) + rng.normal(0, 0.006, 3)
    noise = 0.011
    if odd == "dark_frame":
        exposure, noise = exposure * float(rng.uniform(0.38, 0.55)), 0.018
    lens = (1 - 0.13 * (x * x + y * y)) * exposure
    if odd == "glare":
        lens = lens + _glare(rng, x, y)
    return Scene(
        size=size,
        u=u,
        v=v,
        pixel=pixel,
        light=light,
        edge=edge,
        surface=surface,
        ink=_ink(rng, size, u, v),
        belt=belt,
        lens=lens[..., None] * warmth.astype(np.float32),
        noise=noise * rng.standard_normal((size, size, 1), dtype=np.float32),
    )


def compose(scene: Scene, flaw: Flaw) -> Field:
    """Plate over belt, with the flaw in its place: (H, W, 3), about 0 to 1."""
    tone = (scene.surface * (1 - 0.72 * scene.ink * flaw.keep))[..., None] * np.array([0.985, 1.0, 1.02], np.float32)
    if flaw.gain is not None:
        tone *= flaw.gain if flaw.gain.ndim == 3 else flaw.gain[..., None]
    if flaw.alpha is not None:
        tone = mix(tone, flaw.colour, flaw.alpha[..., None])
    cover = step(-np.maximum(scene.edge, flaw.bite), scene.pixel)[..., None]
    belt = scene.belt[..., None] * np.array([0.95, 1.0, 1.06], np.float32)
    return np.asarray(mix(belt, tone, cover), np.float32)


def expose(scene: Scene, rgb: Field) -> NDArray[np.uint8]:
    """Lens, shutter and sensor: blur, exposure, a soft shoulder before white, shot noise."""
    rgb = ndimage.gaussian_filter(rgb * scene.lens, (0.0022 * scene.size, 0.0022 * scene.size, 0), truncate=2.5)
    hot = rgb > 0.8
    rgb[hot] = 0.8 + 0.2 * np.tanh((rgb[hot] - 0.8) / 0.2)
    return np.asarray(np.clip((rgb + scene.noise * (0.6 + 0.7 * rgb)) * 255 + 0.5, 0, 255), np.uint8)


def _outline(u: Field, v: Field) -> Field:
    """Signed distance to a rectangle with round corners."""
    qu, qv = np.abs(u) - (1 - CORNER), np.abs(v) - (HALF_HEIGHT - CORNER)
    return _length(np.maximum(qu, 0), np.maximum(qv, 0)) + np.minimum(np.maximum(qu, qv), 0) - CORNER


def _turn(
    rng: np.random.Generator, surface: Field, du: Field, dv: Field, grain: Field, light: float, pixel: float
) -> Field:
    """A face turned on the lathe: fine rings, the bow tie of light that rings reflect, a groove around it."""
    r = _length(du, dv)
    cos2 = ((du * math.cos(light) + dv * math.sin(light)) / np.maximum(r, 1e-6)) ** 2
    second = ((du * math.cos(light + 0.9) + dv * math.sin(light + 0.9)) / np.maximum(r, 1e-6)) ** 2
    steps = np.arange(0, FACE_RADIUS + 0.1, 0.7 * max(pixel, 0.008))
    rings = ndimage.gaussian_filter1d(rng.normal(0, 1, steps.size), 0.6) + 0.8 * np.sin(steps * 2 * np.pi / 0.042)
    bow = 0.30 * cos2 * cos2 + 0.10 * (second * second) ** 2
    face = 0.40 + bow + 0.05 * np.interp(r, steps, rings).astype(np.float32) + grain
    surface = mix(surface, face, step(FACE_RADIUS - r, pixel))
    groove = np.exp(-(((r - FACE_RADIUS) / max(0.009, 0.5 * pixel)) ** 2))
    return np.asarray(surface - 0.22 * groove, np.float32)


def _drill(surface: Field, du: Field, dv: Field, radius: float, light: float, pixel: float) -> Field:
    """A through hole with a countersink: far slope lit, near wall in shadow."""
    r = _length(du, dv)
    along = (du * math.cos(light) + dv * math.sin(light)) / np.maximum(r, 1e-6)
    slope = 0.50 - 0.38 * along
    sink = radius + (0.035 if radius < 0.1 else 0.045)
    surface = mix(surface, slope, step(sink - r, pixel))
    surface = surface + 0.20 * np.exp(-(((r - sink) / max(0.008, 0.5 * pixel)) ** 2))
    wall = 0.06 + 0.22 * np.maximum(-along, 0) * np.clip((r / radius - 0.72) / 0.28, 0, 1)
    return mix(surface, wall, step(radius - r, pixel))


def _grain(rng: np.random.Generator, size: int, turn: float, unusual: bool) -> Field:
    """Brushing: streaks of three lengths, unit variance, turned with the plate.

    Unusual: from a coarser belt and in another direction, or crossed.
    """
    side = int(size * (1.5 if unusual else 1.15))  # room to turn
    white = rng.standard_normal((side, side), dtype=np.float32)
    lengths = (0.03, 0.12, 0.45)
    field = np.zeros_like(white)
    for length in lengths:
        streak = ndimage.uniform_filter1d(np.roll(white, int(97 * length), axis=0), max(3, int(length * size)), axis=1)
        field += streak / streak.std()
    if unusual:
        field = ndimage.uniform_filter1d(field, max(2, size // 90), axis=0)
        other = field.T if rng.uniform() < 0.5 else 0
        turn, field = turn + float(rng.uniform(0.35, 1.2) * rng.choice([-1, 1])), field + other
        field *= 1.25 / field.std()
    else:
        field /= field.std()
    c, s, m, h = math.cos(turn), math.sin(turn), side / 2, size / 2
    place = (c, s, m - c * h - s * h, -s, c, m + s * h - c * h)
    return np.asarray(
        Image.fromarray(field).transform((size, size), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
    )


def cloud(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise of about unit variance with `cells` bumps across the image."""
    knots = Image.fromarray(rng.standard_normal((cells + 3, cells + 3), dtype=np.float32))
    return np.asarray(knots.resize((size, size), Image.Resampling.BICUBIC))


def _glare(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A lamp mirrored in the plate: a washed-out bar with a halo."""
    low, high = (0, -0.5, -0.5, 0.25, 0.08, 0.6), (math.pi, 0.5, 0.5, 0.55, 0.16, 1.1)
    angle, cx, cy, long, wide, strength = (float(p) for p in rng.uniform(low, high))
    along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    across = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
    far = (along / long) ** 2 + (across / wide) ** 2
    return np.asarray(strength * (np.exp(-far) + 0.35 * np.exp(-far / 8)), np.float32)


@lru_cache(maxsize=64)
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def _ink(rng: np.random.Generator, size: int, u: Field, v: Field) -> Field:
    """The print: logo, maker, type, a serial number and a matrix code that differ on every plate."""
    left, top, right, bottom = PRINT
    scale = 1.6 * size / 2 * ZOOM
    high, wide = int((bottom - top) * scale), int((right - left) * scale)
    page = Image.new("L", (wide, high), 0)
    draw = ImageDraw.Draw(page)
    w, h = float(wide), float(high)
    draw.regular_polygon((0.17 * w, 0.15 * h, 0.13 * w), 6, rotation=30, fill=255)
    draw.regular_polygon((0.17 * w, 0.15 * h, 0.06 * w), 3, fill=0)
    draw.text((0.36 * w, 0.03 * h), "NORDA", font=_font(max(6, int(0.165 * w))), fill=255)
    draw.text((0.365 * w, 0.18 * h), "PRECISION", font=_font(max(6, int(0.105 * w))), fill=255)
    draw.line((0.02 * w, 0.32 * h, 0.98 * w, 0.32 * h), fill=255, width=max(1, int(0.018 * w)))
    draw.text((0.03 * w, 0.36 * h), "TYPE 7-42 B", font=_font(max(6, int(0.15 * w))), fill=255)
    draw.text((0.03 * w, 0.50 * h), f"SN {rng.integers(10**5, 10**6)}", font=_font(max(6, int(0.15 * w))), fill=255)
    cells = rng.integers(0, 2, (12, 12))
    cells[:, 0] = cells[-1] = 1
    cells[0, 1:], cells[1:, -1] = np.arange(11) % 2, np.arange(11) % 2
    side = int(0.32 * h)
    code = Image.fromarray((cells * 255).astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    page.paste(code, (int(0.03 * w), int(0.66 * h)))
    draw.text((0.52 * w, 0.70 * h), "CE", font=_font(max(6, int(0.26 * w))), fill=255)
    draw.text((0.52 * w, 0.88 * h), f"LOT {rng.integers(10, 99)}", font=_font(max(6, int(0.105 * w))), fill=255)
    nudge_v, nudge_u = (float(n) for n in rng.normal(0, 0.006, 2))  # the printer's own play
    rows, cols = (v - top - nudge_v) * scale - 0.5, (u - left - nudge_u) * scale - 0.5
    page_field = ndimage.gaussian_filter(np.asarray(page, np.float32) / 255, 0.7)
    inside = (rows > -2) & (rows < high + 1) & (cols > -2) & (cols < wide + 1)
    ink = np.zeros_like(u)
    ink[inside] = ndimage.map_coordinates(page_field, (rows[inside], cols[inside]), order=1)
    return np.asarray(ink * (0.93 + 0.05 * cloud(rng, size, 20)), np.float32)


def _length(a: Field, b: Field) -> Field:
    # np.hypot guards against overflow, at ten times the time.
    return np.asarray(np.sqrt(a * a + b * b), np.float32)


def step(distance: Field, pixel: float) -> Field:
    """1 where `distance` is positive, 0 where negative, and one pixel of ramp between."""
    return np.asarray(np.clip(distance * (1 / pixel) + 0.5, 0, 1), np.float32)


def mix(under: Field, over: Field | float, alpha: Field | float) -> Field:
    return np.asarray(under + (over - under) * alpha, np.float32)
