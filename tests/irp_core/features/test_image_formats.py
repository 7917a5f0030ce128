"""Which files become pixels, with which scale, and within which bounds."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from irp_core.config import Images, Params
from irp_core.errors import InputError
from irp_core.features.image_formats import FORMATS, decode, decode_mask, decode_with_facts
from irp_core.features.images import resized
from irp_core.params_file import load_params
from tests.irp_core.data.brought import grey


def content(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_pillow_is_asked_for_no_other_format(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def opening(*args: object, formats: tuple[str, ...] | None = None) -> Image.Image:
        asked.append(formats)
        return real(*args, formats=formats)  # type: ignore[arg-type]

    real = Image.open
    monkeypatch.setattr(Image, "open", opening)
    decode(content(Image.new("L", (4, 4))))
    with pytest.raises(InputError, match="not an image file"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert set(asked) == {FORMATS}


def test_the_limit_of_pixels_is_the_settings_and_pillows_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    seen = decode(content(Image.new("L", (64, 48), 7)))  # Pillow alone would call it a bomb
    assert seen.size == (64, 48)
    assert resized(seen, (32, 32), "center").size == (32, 32)
    with pytest.raises(InputError, match=r"64 x 48 pixels, more than 3,000 \(images.max_pixels\)"):
        decode(content(Image.new("L", (64, 48))), Images(max_pixels=3000))
    with pytest.raises(InputError, match="max_pixels"):
        decode_mask(content(Image.new("L", (64, 48))), Images(max_pixels=3000))
    assert Image.MAX_IMAGE_PIXELS == 10
    assert before is not None


def test_a_range_is_the_same_for_integers_and_floats_and_the_whole_set() -> None:
    images = Images(range=(0.0, 4095.0))
    values = np.array([[0, 819, 2047, 4095, 65535]], dtype=np.uint16)
    for kind, stored in (("PNG", values), ("TIFF", values), ("TIFF", values.astype(np.float32)),
                         ("TIFF", values.astype(np.int32))):  # fmt: skip
        seen = np.asarray(decode(content(Image.fromarray(stored), kind), images))
        assert seen[0, :, 0].tolist() == [0, 51, 127, 255, 255]
    eight = content(Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8)))
    assert np.asarray(decode(eight, images))[0, :, 0].tolist() == [0, 128, 255]


def test_twelve_bits_keep_their_lower_bits_where_the_range_is_said() -> None:
    stored = content(Image.fromarray(grey("x", (64, 64), top=4095)))
    assert len(np.unique(np.asarray(decode(stored)))) == 16
    assert len(np.unique(np.asarray(decode(stored, Images(range=(0.0, 4095.0)))))) > 240


def test_sixteen_bit_colour_is_read_by_its_upper_bits_and_not_under_a_range() -> None:
    # Pillow writes none: a TIFF of one pixel, 3 x 16 bits, little-endian.
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 140), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 146),
               (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6), (284, 3, 1, 1)]  # fmt: skip
    head = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    for tag, kind, count, value in entries:
        head += tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + count.to_bytes(4, "little")
        head += value.to_bytes(4, "little")
    head = (head + b"\0\0\0\0").ljust(140, b"\0") + b"\x10\0" * 3
    stored = head + b"".join(value.to_bytes(2, "little") for value in (0x1234, 0x8000, 0xFFFF))
    seen = decode_with_facts(stored)
    assert (seen.bits, np.asarray(seen.image)[0, 0].tolist()) == (16, [0x12, 0x80, 0xFF])
    with pytest.raises(InputError, match="16-bit colour"):
        decode(stored, Images(range=(0.0, 4095.0)))


def test_a_range_goes_from_black_to_white() -> None:
    with pytest.raises(InputError, match=r"images.range must be the values of black and white"):
        load_params(None, ["images.range=[255, 0]"])
    assert load_params(None, ["images.range=[0, 4095]"]).images.range == (0.0, 4095.0)


def test_new_settings_at_their_defaults_leave_the_store_and_saved_models_as_they_were() -> None:
    assert Params().images.pixels() == {"size": 256, "crop": "none"}
    assert Params().images.set_keys() == {"size": 256, "crop": "none"}
    said = Images(range=(0.0, 1.0), max_pixels=5)
    assert said.pixels() == {"size": 256, "crop": "none", "range": [0.0, 1.0]}
    assert Images.model_validate(said.set_keys()) == said
