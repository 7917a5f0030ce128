"""Backbones and extraction: frozen, verified, once per image, independent of the company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from irp_core.backbones import load_backbone
from irp_core.backbones.resnet18 import ResNet18, fold_batch_norm
from irp_core.config import Params
from irp_core.data.scan import scan
from irp_core.errors import InputError
from irp_core.features.extraction import NetworkPass, extract
from irp_core.features.feature_set import Local
from irp_core.features.local import local_feature, local_spec, map_kurtosis, patch_cells
from irp_core.features.pooled import PooledExtractor, extractor_spec, resolve_device, resolve_precision
from irp_core.features.store import FeatureStore
from irp_core.params_file import load_params

CPU = torch.device("cpu")


def torchvision_like_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """A random state dict with torchvision's resnet18 names, batch norm included, up to layer 3."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in ResNet18().state_dict().items():
        if not name.endswith("weight"):
            continue
        state[name] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        norm = name.replace("downsample.0", "downsample.1").replace("conv", "bn").removesuffix(".weight")
        for part, scale in (("weight", 0.2), ("bias", 0.1), ("running_mean", 0.1), ("running_var", 0.2)):
            value = torch.randn(len(tensor), generator=generator) * scale
            state[f"{norm}.{part}"] = value.abs() + 0.5 if part in ("weight", "running_var") else value
    return state


def test_folding_keeps_the_function(tmp_path: Path) -> None:
    state = torchvision_like_state()
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    network = load_backbone("resnet18", path).network.double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def conv_norm(x: torch.Tensor, conv: str, norm: str, stride: int, padding: int) -> torch.Tensor:
        y = F.conv2d(x, state[f"{conv}.weight"].double(), stride=stride, padding=padding)
        mean, var, weight, bias = (
            state[f"{norm}.{p}"].double() for p in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, var, weight, bias)

    y = F.max_pool2d(F.relu(conv_norm(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for layer in (1, 2, 3):
        for block in (0, 1):
            n, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            short = conv_norm(y, f"{n}.downsample.0", f"{n}.downsample.1", stride, 0) if stride == 2 else y
            y = F.relu(conv_norm(y, f"{n}.conv1", f"{n}.bn1", stride, 1))
            y = F.relu(conv_norm(y, f"{n}.conv2", f"{n}.bn2", 1, 1) + short)
    torch.testing.assert_close(network(x)["layer3"], y, rtol=1e-4, atol=1e-4)


def test_backbones_are_frozen_and_have_the_maps_they_promise(tmp_path: Path) -> None:
    path = tmp_path / "folded.safetensors"
    save_file(fold_batch_norm(torchvision_like_state()), path)
    for layers, channels in ((("layer1",), 64), (("layer2",), 128), (None, 256)):
        backbone = load_backbone("resnet18", path, layers)
        assert not any(p.requires_grad for p in backbone.network.parameters())
        assert not backbone.network.training
        maps = backbone.network(torch.zeros(1, 3, 64, 64))
        assert maps[backbone.layers[0]].shape[1] == channels


def test_alexnet_reads_torchvisions_layout(tmp_path: Path) -> None:
    from irp_core.backbones.alexnet import AlexNet

    state = {**AlexNet().state_dict(), "classifier.1.weight": torch.zeros(2, 2)}
    torch.save(state, tmp_path / "alexnet.pth")
    maps = load_backbone("alexnet", tmp_path / "alexnet.pth").network(torch.zeros(1, 3, 224, 224))
    assert maps["features"].shape == (1, 256, 6, 6)
    assert maps["conv2"].shape == (1, 192, 27, 27)


def test_wrong_weights_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match="weights not found"):
        load_backbone("resnet18", path)
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(InputError, match=r"with a tensor 'conv1.bias', found none"):
        load_backbone("resnet18", path)
    path.write_text("no tensors")
    with pytest.raises(InputError, match="is not a weights file"):
        load_backbone("resnet18", path)
    with pytest.raises(InputError, match=r"features\.layers of backbone resnet18 .* Got 'layer9'"):
        load_backbone("resnet18", path, ("layer9",))


def test_unknown_device_is_explained() -> None:
    with pytest.raises(InputError, match=r"features\.device .* Got 'tpu9'"):
        resolve_device("tpu9")


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> tuple[PooledExtractor, Params]:
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    save_file(fold_batch_norm(torchvision_like_state()), path)
    options = ["images.size=64", "features.scales=[64,32]", "views.train=2", "views.score=3", "features.batch_size=4"]
    params = load_params(None, options)
    return PooledExtractor(load_backbone("resnet18", path), params.features.scales, CPU, torch.float32), params


def test_features_are_the_means_of_the_maps(extractor: tuple[PooledExtractor, Params]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    features = extractor[0](pixels)
    assert features.shape == (4, 512)
    from irp_core.features.pooled import normalize

    expected = extractor[0].backbone.network(normalize(torch.from_numpy(pixels)))["layer3"].mean(dim=(2, 3))
    np.testing.assert_allclose(features[:, :256], expected.numpy(), rtol=1e-5)


def test_each_image_goes_through_the_network_once(
    extractor: tuple[PooledExtractor, Params], plant: Path, tmp_path: Path
) -> None:
    network, params = extractor
    store = FeatureStore(tmp_path, extractor_spec(params, network.backbone, torch.float32))
    rows = scan(plant).manifest
    views_pass = NetworkPass(network, [], pooled=True)
    first = extract(rows.iloc[:10], plant, {"pooled": store}, views_pass, params)
    assert (first.hits, first.misses) == (0, 10)
    second = extract(rows.iloc[:13], plant, {"pooled": store}, views_pass, params)
    assert (second.hits, second.misses) == (10, 3)
    # In other batches, beside other images: the same bits.
    alone = FeatureStore(tmp_path / "alone", extractor_spec(params, network.backbone, torch.float32))
    extract(rows.iloc[[12]], plant, {"pooled": alone}, views_pass, params)
    md5 = rows["md5"].iloc[12]
    assert (alone.get([md5], 3) == store.get([md5], 3)).all()


def test_a_changed_file_is_not_scored_under_its_old_name(
    extractor: tuple[PooledExtractor, Params], plant: Path, tmp_path: Path
) -> None:
    network, params = extractor
    rows = scan(plant).manifest.iloc[:1].assign(md5="0" * 32)
    store = FeatureStore(tmp_path, extractor_spec(params, network.backbone, torch.float32))
    with pytest.raises(InputError, match="its content changed since the manifest was made"):
        extract(rows, plant, {"pooled": store}, NetworkPass(network, [], pooled=True), params)


def test_bfloat16_is_chosen_only_where_it_is_native() -> None:
    assert resolve_precision("float32", CPU) == torch.float32
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16
    native = any(torch.cpu.get_capabilities().get(k) for k in ("amx_bf16", "avx512_bf16"))
    assert (resolve_precision("auto", CPU) == torch.bfloat16) == bool(native)


def test_patches_are_smoothed_cells_of_the_deepest_map(extractor: tuple[PooledExtractor, Params]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    from irp_core.features.pooled import normalize

    deepest = extractor[0].backbone.network(normalize(torch.from_numpy(pixels)))["layer3"]
    features = extractor[1].features.model_copy(update={"patch_grid": 2, "patch_channels": 256})  # no projection
    feature = local_feature("patches", extractor[0].backbone, features, extractor[1].images)
    rows = NetworkPass(extractor[0], [feature])(pixels)["patches"]
    assert rows.shape == (4, 2 * 2 * 256)
    padded = torch.nn.functional.pad(deepest, (1, 1, 1, 1))  # the zeros beyond the border count
    smoothed = sum(padded[..., i : i + 4, j : j + 4] for i in range(3) for j in range(3)) / 9
    expected = smoothed[..., :2, 2:].mean(dim=(2, 3))  # the upper right cell is the second of the row
    np.testing.assert_allclose(rows[:, 256:512], expected.numpy(), rtol=1e-4, atol=1e-6)


def test_the_projection_of_patches_is_always_the_same_and_keeps_distances() -> None:
    maps = torch.rand(4, 256, 4, 4, generator=torch.Generator().manual_seed(0))
    full = patch_cells(maps, 4, 256).reshape(64, 256).numpy()
    projected = patch_cells(maps, 4, 64).reshape(64, 64).numpy()
    assert (patch_cells(maps, 4, 64).reshape(64, 64).numpy() == projected).all()
    ratio = np.linalg.norm(projected[:32] - projected[32:], axis=1) / np.linalg.norm(full[:32] - full[32:], axis=1)
    assert 0.8 < np.median(ratio) < 1.25


def test_patches_are_stored_apart_from_pooled_features(extractor: tuple[PooledExtractor, Params]) -> None:
    network, params = extractor
    spec = extractor_spec(params, network.backbone, torch.float32)
    finer = params.model_copy(update={"features": params.features.model_copy(update={"patch_grid": 16})})
    settings: tuple[tuple[Local, Params], ...] = (("patches", params), ("patches", finer), ("kurtosis", params))

    def described(name: Local, chosen: Params) -> dict[str, object]:
        return local_spec(name, spec, chosen.features, network.backbone, chosen.images)

    specs = [spec, *(described(name, chosen) for name, chosen in settings)]
    assert len({str(sorted(one.items())) for one in specs}) == 4
    # A row of kurtosis has nothing to do with the patches' settings.
    assert described("kurtosis", finer) == specs[-1]
    # Pooled features do not depend on the patches' settings: no image goes through the network again for them.
    assert extractor_spec(finer, network.backbone, torch.float32) == spec


def test_the_kurtosis_is_that_of_the_smoothed_residuals() -> None:
    """Against scipy, on a map whose rows and columns have gradients of their own."""
    from scipy import stats

    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 3, 24, 24, generator=generator, dtype=torch.float64)
    light = torch.linspace(0, 50, 24, dtype=torch.float64)
    found = map_kurtosis(maps)
    smoothed = F.avg_pool2d(F.avg_pool2d(maps, 3, stride=1, padding=1), 2)[:, :, 1:-1, 1:-1]
    residuals = smoothed - smoothed.mean(3, keepdim=True) - smoothed.mean(2, keepdim=True)
    expected = np.log1p(stats.kurtosis(residuals.flatten(2).numpy(), axis=2, fisher=False))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.1)  # less the floor of the spread
    np.testing.assert_allclose(map_kurtosis(maps + light), found, rtol=1e-6)
    np.testing.assert_allclose(map_kurtosis(maps + light[:, None]), found, rtol=1e-6)


def test_one_spot_is_peaked_and_many_are_not() -> None:
    calm = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    spot, many = calm.clone(), calm.clone()
    spot[..., 20:24, 30:34] += 2.0
    many[..., ::8, ::8] += 2.0
    assert map_kurtosis(spot) > map_kurtosis(many) + 1.0
    assert torch.isfinite(map_kurtosis(torch.zeros(1, 4, 8, 8))).all()


@pytest.mark.parametrize("layers", [("layer1",), None])
def test_the_kurtosis_is_of_the_middle_layer_whatever_is_pooled(tmp_path: Path, layers: tuple[str, ...] | None) -> None:
    path = tmp_path / "w.safetensors"
    save_file(fold_batch_norm(torchvision_like_state()), path)
    params = load_params(None, ["images.size=64", "features.kurtosis_scale=128"])
    network = PooledExtractor(load_backbone("resnet18", path, layers), (64,), CPU, torch.float32)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    feature = local_feature("kurtosis", network.backbone, params.features, params.images)
    rows = NetworkPass(network, [feature])(pixels)["kurtosis"]
    np.testing.assert_allclose(rows, map_kurtosis(network.maps(pixels, 128)["layer2"]), rtol=1e-5)
    assert rows.shape == (2, 128)
