"""Images to distil on: free photographs that ship inside installed packages, and procedural ones.

No inspection image is ever read here. A *pool* is a memory-mapped ``(count, side, side, 3)`` uint8 array rendered
once, so that drawing never starves training; `training.augment` crops and perturbs it on the fly.
"""

from __future__ import annotations

import importlib.util
import io
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree
from tqdm import tqdm

__all__ = ["HELD_OUT", "PHOTOGRAPHS", "Photograph", "photograph_crop", "photographs", "procedural", "render_pool"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Photograph:
    """One photograph: the package that ships it, its path inside that package, and its licence as stated there."""

    package: str
    path: str
    licence: str


def _skimage(name: str, licence: str) -> Photograph:
    return Photograph("skimage", f"data/{name}", licence)


PHOTOGRAPHS: dict[str, Photograph] = {
    "china": Photograph("sklearn", "datasets/images/china.jpg", "CC BY 2.0, danielbuechele (Flickr)"),
    "flower": Photograph(
        "sklearn", "datasets/images/flower.jpg", "CC BY 2.0 (credited to danielbuechele, linked to vultilion, Flickr)"
    ),
    "astronaut": _skimage("astronaut.png", "NASA, public domain"),
    "brick": _skimage("brick.png", "CC0 (CC0Textures)"),
    "camera": _skimage("camera.png", "CC0, Lav Varshney"),
    "cell": _skimage("cell.png", "CC0, Müller et al. 2018"),
    "chelsea": _skimage("chelsea.png", "CC0, Stefan van der Walt"),
    "clock": _skimage("clock_motion.png", "public domain, Stefan van der Walt"),
    "coffee": _skimage("coffee.png", "CC0, Rachel Michetti"),
    "grass": _skimage("grass.png", "CC0 (linolafett, DeviantArt)"),
    "gravel": _skimage("gravel.png", "CC0 (CC0Textures)"),
    "hubble_deep_field": _skimage("hubble_deep_field.jpg", "NASA, public domain"),
    "microaneurysms": _skimage("microaneurysms.png", "CC0, Andreas Maier"),
    "retina": _skimage("retina.jpg", "CC0, Mikael Häggström"),
    "rocket": _skimage("rocket.jpg", "SpaceX, public domain"),
    "text": _skimage("text.png", "public domain (Wikipedia, Corner.png)"),
}
"""Photographs whose free licence is stated by the package itself; those without such a statement are left out."""

HELD_OUT = ("coffee", "gravel", "rocket")
"""Never trained on: the validation pool is drawn from these (and from procedural images of another seed)."""


def photographs(names: tuple[str, ...]) -> list[Bytes]:
    """Decode photographs by name; each is ``(H, W, 3)`` uint8. Nothing is downloaded."""
    images = []
    for name in names:
        photo = PHOTOGRAPHS[name]
        spec = importlib.util.find_spec(photo.package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"photograph '{name}' ships with the package '{photo.package}', not installed.")
        with Image.open(Path(spec.origin).parent / photo.path) as image:
            images.append(np.asarray(image.convert("RGB")))
    return images


def photograph_crop(photo: Bytes, side: int, rng: np.random.Generator) -> Bytes:
    """A random similarity crop of ``photo`` with some anisotropy, ``(side, side, 3)``; reflects beyond the border."""
    longest = min(photo.shape[:2])
    extent = float(np.exp(rng.uniform(np.log(min(72, longest)), np.log(longest * 1.1))))
    aspect = float(np.exp(rng.normal(0, 0.25)))
    angle = (
        rng.choice([0, 0, 90, 180, 270]) * np.pi / 180 + rng.normal(0, 0.15)
        if rng.random() < 0.5
        else (rng.uniform(0, 2 * np.pi))
    )
    source = Image.fromarray(photo)
    shrink = extent / side
    if shrink > 1.3:  # bilinear sampling aliases below this, so shrink the photograph first
        size = (max(8, round(photo.shape[1] / shrink)), max(8, round(photo.shape[0] / shrink)))
        source = source.resize(size, Image.Resampling.LANCZOS)
        extent /= shrink
    array = np.asarray(source)
    height, width = array.shape[:2]
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    y, x = np.meshgrid(grid * extent * aspect, grid * extent / aspect, indexing="ij")
    cy, cx = rng.uniform(0.3, 0.7, 2) if extent > 0.6 * min(height, width) else rng.uniform(0.12, 0.88, 2)
    rows = cy * height + np.cos(angle) * y - np.sin(angle) * x
    columns = cx * width + np.sin(angle) * y + np.cos(angle) * x
    planes = [map_coordinates(array[..., c], [rows, columns], order=1, mode="reflect") for c in range(3)]
    crop = np.stack(planes, -1)
    return np.ascontiguousarray(crop[:, :: rng.choice([-1, 1])])


def _unit(field: Floats) -> Floats:
    low, high = np.percentile(field[::3, ::3], [0.5, 99.5])
    return np.clip((field - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def _fractal(side: int, rng: np.random.Generator) -> Floats:
    """Noise with a power-law spectrum, possibly anisotropic (brushed, rolled) or band-limited; ``(side, side)``."""
    fy = np.fft.fftfreq(side)[:, None].astype(np.float32)
    fx = np.fft.rfftfreq(side)[None, :].astype(np.float32)
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.choice([0.0, rng.uniform(0, 3.3)]))
    u, v = np.cos(angle) * fx + np.sin(angle) * fy, -np.sin(angle) * fx + np.cos(angle) * fy
    radius = np.sqrt(u**2 * stretch + v**2 / stretch) + 1 / side
    spectrum = radius ** -rng.uniform(0.2, 2.4)
    if rng.random() < 0.25:
        centre, width = np.exp(rng.uniform(np.log(0.01), np.log(0.3))), rng.uniform(0.1, 0.8)
        spectrum *= np.exp(-((np.log(radius / centre) / width) ** 2))
    noise = rng.standard_normal(spectrum.shape, np.float32) + 1j * rng.standard_normal(spectrum.shape, np.float32)
    field = _unit(np.fft.irfft2(noise * spectrum, (side, side)).astype(np.float32))
    shape = rng.random()
    if shape < 0.15:
        return _unit(np.abs(field - 0.5))
    if shape < 0.3:
        return (1 / (1 + np.exp(-rng.uniform(8, 60) * (field - rng.uniform(0.3, 0.7))))).astype(np.float32)
    return field


def _grating(side: int, rng: np.random.Generator) -> Floats:
    """One to three periodic waves (sine, square, saw), summed, multiplied or woven, and slightly warped."""
    y, x = np.meshgrid(*[np.arange(side, dtype=np.float32)] * 2, indexing="ij")
    if rng.random() < 0.5:
        bend = rng.uniform(0, 12)
        x, y = x + bend * _fractal(side, rng), y + bend * _fractal(side, rng)
    waves = []
    for _ in range(rng.integers(1, 4)):
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(90)))
        phase = (np.cos(angle) * x + np.sin(angle) * y) / period + rng.random()
        waves.append([np.sin(2 * np.pi * phase), np.sign(np.sin(2 * np.pi * phase)), phase % 1][rng.integers(3)])
    field = waves[0]
    for wave in waves[1:]:
        field = [field + wave, field * wave, np.maximum(field, wave)][rng.integers(3)]
    return _unit(gaussian_filter(field, rng.uniform(0.3, 1.5)))


def _cells(side: int, rng: np.random.Generator) -> Floats:
    """Voronoi grains: flat, rounded or outlined; ``(side, side)``."""
    count = int(np.exp(rng.uniform(np.log(8), np.log(1500))))
    tree = cKDTree(rng.uniform(0, side, (count + 2, 2)) * [1, np.exp(rng.normal(0, 0.3))])
    y, x = np.meshgrid(*[np.arange(side, dtype=np.float32)] * 2, indexing="ij")
    distance, index = tree.query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    kind = rng.integers(3)
    field = (rng.random(count + 2)[index[:, 0]], distance[:, 0], np.minimum(distance[:, 1] - distance[:, 0], 4))[kind]
    return _unit(gaussian_filter(field.reshape(side, side).astype(np.float32), rng.uniform(0.3, 1.2)))


def _drawing(side: int, rng: np.random.Generator) -> Floats:
    """Dead leaves (overlapping shapes with power-law sizes), or strokes and text; ``(side, side)``."""
    image = Image.new("L", (side, side), int(rng.integers(256)))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.65:
        few = rng.random() < 0.4
        for _ in range(rng.integers(2, 12) if few else rng.integers(40, 350)):
            r = min(side * 0.45, 3 * (1 - rng.random()) ** (-1 / 1.3)) if not few else rng.uniform(6, side * 0.4)
            cx, cy, grey = *rng.uniform(0, side, 2), int(rng.integers(256))
            corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            box = (cx - r, cy - r * rng.uniform(0.3, 1), cx + r, cy + r * rng.uniform(0.3, 1))
            kind = rng.integers(3)
            if kind == 0:
                draw.ellipse(box, fill=grey)
            elif kind == 1:
                draw.rectangle(box, fill=grey)
            else:
                draw.polygon([(cx + r * np.cos(a), cy + r * np.sin(a)) for a in corners], fill=grey)
    else:
        for _ in range(rng.integers(3, 40)):
            grey, (px, py) = int(rng.integers(256)), rng.uniform(0, side, 2)
            if rng.random() < 0.5:
                glyphs = "".join(chr(c) for c in rng.integers(33, 122, rng.integers(1, 12)))
                draw.text((px - 40, py), glyphs, fill=grey, font=ImageFont.load_default(float(rng.uniform(8, 60))))
            else:
                points = np.cumsum(rng.normal(0, rng.uniform(4, 40), (rng.integers(2, 7), 2)), 0) + np.array([px, py])
                draw.line([(float(a), float(b)) for a, b in points], fill=grey, width=int(rng.integers(1, 7)))
    return gaussian_filter(np.asarray(image, np.float32) / 255, rng.uniform(0.2, 1.2))


def _layer(side: int, rng: np.random.Generator) -> Floats:
    maker = (_fractal, _grating, _cells, _drawing)[rng.choice(4, p=[0.4, 0.15, 0.15, 0.3])]
    return maker(side, rng)


def _coloured(side: int, rng: np.random.Generator) -> Floats:
    """A layer mapped to colour between two or three random colours; ``(side, side, 3)``."""
    field, colours = _layer(side, rng), rng.random((3, 3)).astype(np.float32)
    if rng.random() < 0.5:  # most material is nearly grey
        colours = colours.mean(1, keepdims=True) + 0.15 * (colours - 0.5)
    stops = np.array([0, rng.uniform(0.2, 0.8), 1])
    return np.stack([np.interp(field, stops, colours[:, c]).astype(np.float32) for c in range(3)], -1)


def procedural(side: int, rng: np.random.Generator, photos: list[Bytes]) -> Bytes:
    """A random composition of textures, objects, pasted photograph patches, light and shadow; ``(side, side, 3)``."""
    image = _coloured(side, rng)
    if rng.random() < 0.4:
        image = image * rng.uniform(0.4, 0.95) + _fractal(side, rng)[..., None] * rng.uniform(0.05, 0.5)
    for _ in range(rng.choice([0, 0, 1, 2])):
        other = (
            photograph_crop(photos[rng.integers(len(photos))], side, rng) / 255
            if rng.random() < 0.4
            else (_coloured(side, rng))
        )
        mask = gaussian_filter((_layer(side, rng) > rng.uniform(0.3, 0.8)).astype(np.float32), rng.uniform(0.3, 3))
        image = image + mask[..., None] * rng.uniform(0.3, 1) * (other - image)
    for _ in range(rng.choice([0, 0, 1, 3])):  # scratches
        canvas = Image.new("L", (side, side))
        points = np.cumsum(rng.normal(0, side / 8, (3, 2)), 0) + rng.uniform(0, side, 2)
        ImageDraw.Draw(canvas).line([(float(a), float(b)) for a, b in points], fill=255, width=int(rng.integers(1, 4)))
        stroke = gaussian_filter(np.asarray(canvas, np.float32) / 255, rng.uniform(0.3, 1.5))
        image = image + stroke[..., None] * rng.uniform(-0.6, 0.6)
    if rng.random() < 0.5:  # lighting: a gradient or a soft shadow
        shade = gaussian_filter(_layer(side, rng), rng.uniform(10, 60))
        image = image * (1 - rng.uniform(0, 0.7) * _unit(shade)[..., None])
    pixels = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return _degrade(pixels, rng)


def _degrade(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Blur, resampling and JPEG as a camera and its storage would."""
    image, side = Image.fromarray(pixels), pixels.shape[0]
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 2.5))))
    if rng.random() < 0.2:
        small = int(side * rng.uniform(0.3, 0.9))
        image = image.resize((small, small), Image.Resampling.BILINEAR).resize((side, side), Image.Resampling.BICUBIC)
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(25, 96)))
        image = Image.open(buffer).convert("RGB")
    return np.asarray(image)


def _render_block(job: tuple[Path, int, int, int, int, tuple[str, ...]]) -> int:
    path, start, stop, side, seed, names = job
    pool = np.lib.format.open_memmap(path, mode="r+")
    photos = photographs(names)
    for i in range(start, stop):
        rng = np.random.default_rng([seed, i])  # each image has its own stream: the pool never depends on the workers
        if rng.random() < 0.5:
            pool[i] = _degrade(photograph_crop(photos[rng.integers(len(photos))], side, rng), rng)
        else:
            pool[i] = procedural(side, rng, photos)
    pool.flush()
    return stop - start


def render_pool(path: Path, count: int, side: int, seed: int, names: tuple[str, ...], workers: int = 2) -> Bytes:
    """Render ``count`` images (half photograph crops, half procedural) or reuse a pool rendered with the same settings.

    Returns:
        A read-only memory map, ``(count, side, side, 3)`` uint8 RGB.
    """
    settings = {"count": count, "side": side, "seed": seed, "photographs": list(names)}
    stamp = path.with_suffix(".json")
    if not (path.exists() and stamp.exists() and json.loads(stamp.read_text()) == settings):
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, side, side, 3)).flush()
        starts = range(0, count, 50)
        jobs = [(path, s, min(s + 50, count), side, seed, names) for s in starts]
        with ProcessPoolExecutor(workers) as executor, tqdm(total=count, desc=f"render {path.name}") as bar:
            for done in executor.map(_render_block, jobs):
                bar.update(done)
        stamp.write_text(json.dumps(settings))  # written last: a pool without it is incomplete
    pool: Bytes = np.load(path, mmap_mode="r")
    return pool
