"""The bundled encoder: the weights that travel with the package are the ones the code names, and they behave."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from irp_core.backbones.bundled import BUNDLED_PATH, BUNDLED_SHA256, BundledEncoder, load_bundled


@pytest.fixture(scope="module")
def encoder() -> BundledEncoder:
    return load_bundled()


def _images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn((count, 3, height, width), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (65, 100), (224, 224)])
def test_maps_have_the_promised_channels_and_strides(encoder: BundledEncoder, height: int, width: int) -> None:
    maps = encoder(_images(2, height, width))
    assert list(maps) == ["layer2", "layer3"]
    assert maps["layer2"].shape == (2, 128, -(-height // 8), -(-width // 8))
    assert maps["layer3"].shape == (2, 256, -(-height // 16), -(-width // 16))
    assert all(bool(torch.isfinite(m).all()) and float(m.std()) > 0 for m in maps.values())


def test_weights_are_float32_frozen_and_small(encoder: BundledEncoder) -> None:
    assert not encoder.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in encoder.parameters())
    assert sum(p.numel() for p in encoder.parameters()) <= 2_000_000
    assert BUNDLED_PATH.stat().st_size <= 4_000_000


def test_an_image_gives_the_same_maps_alone_and_in_a_batch(encoder: BundledEncoder) -> None:
    images = _images(3, 64, 64)
    together = encoder(images)
    for i in range(3):
        alone = encoder(images[i : i + 1])
        for layer, maps in together.items():
            torch.testing.assert_close(alone[layer][0], maps[i], rtol=1e-4, atol=1e-4)


def test_two_loads_agree_bit_for_bit_and_leave_the_global_generator_alone(encoder: BundledEncoder) -> None:
    state = torch.get_rng_state()
    again = load_bundled()
    assert torch.equal(state, torch.get_rng_state())
    images = _images(1, 64, 64)
    for layer, maps in encoder(images).items():
        assert torch.equal(maps, again(images)[layer])


def test_a_changed_file_is_refused_by_name_and_hash(tmp_path: Path) -> None:
    changed = tmp_path / "bundled.safetensors"
    changed.write_bytes(BUNDLED_PATH.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=re.escape(str(changed))) as raised:
        load_bundled(changed)
    assert BUNDLED_SHA256 in str(raised.value)
