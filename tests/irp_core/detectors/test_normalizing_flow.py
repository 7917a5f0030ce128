"""The flow's mathematics: stored reference, inverse, Jacobian."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irp_core.detectors.normalizing_flow import Coupling, NormalizingFlow, negative_log_likelihood

REFERENCE = Path(__file__).parents[1] / "references" / "coupling_reference.json"


def make_flow(dimensions: int, seed: int, blocks: int = 3) -> NormalizingFlow:
    generator = torch.Generator().manual_seed(seed)
    return NormalizingFlow(dimensions, blocks=blocks, hidden=8, clamp=3.0, generator=generator).double()


def test_coupling_equals_stored_reference() -> None:
    """The reference was computed by an independent numpy implementation (make_coupling_reference.py)."""
    stored = json.loads(REFERENCE.read_text())
    coupling = Coupling(stored["dimensions"], stored["hidden"], stored["clamp"], torch.Generator()).double()
    coupling.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in stored["weights"].items()})
    y = torch.tensor(stored["y"], dtype=torch.float64)
    z, log_det = coupling(y)
    torch.testing.assert_close(z, torch.tensor(stored["z"], dtype=torch.float64), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_det, torch.tensor(stored["log_det"], dtype=torch.float64), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(coupling.inverse(z), y, rtol=1e-10, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(dimensions=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_inverse_undoes_forward(dimensions: int, seed: int) -> None:
    flow = make_flow(dimensions, seed)
    y = 3 * torch.randn(5, dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    z, _ = flow(y)
    torch.testing.assert_close(flow.inverse(z), y, rtol=1e-8, atol=1e-8)


@settings(max_examples=10, deadline=None)
@given(dimensions=st.integers(2, 7), seed=st.integers(0, 2**31))
def test_log_det_equals_autograd_jacobian(dimensions: int, seed: int) -> None:
    flow = make_flow(dimensions, seed)
    y = torch.randn(1, dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x)[0][0], y)[:, 0, :]
    _, log_det = flow(y)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-9, atol=1e-9)


def test_loss_of_identity_is_half_the_mean_square() -> None:
    z = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert negative_log_likelihood(z, torch.zeros(2)).item() == pytest.approx((12.5 + 2.0) / 2 / 2)


def test_clamp_bounds_the_log_scale() -> None:
    coupling = Coupling(4, 8, 3.0, torch.Generator().manual_seed(0)).double()
    for parameter in coupling.parameters():
        parameter.data *= 1e3
    _, log_det = coupling(torch.full((1, 4), 1e6, dtype=torch.float64))
    assert log_det.abs().item() < 4 * 3.0


def test_permutations_are_saved() -> None:
    flow = make_flow(6, seed=3)
    other = make_flow(6, seed=4)
    other.load_state_dict(flow.state_dict())
    y = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flow(y)[0], other(y)[0])
