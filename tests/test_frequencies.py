"""Laws of linear layers whose rows are waves of trained frequency."""

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

from baselines.nets import build as build_network
from methods.base import Task
from methods.graph import modules_called, trace
from methods.layers import FrequencyLinear, build, config_of
from methods.spectral import DCT, DFT, DST
from tests.drawing import drawn, filled


def untrained(model, *, lr_scale=1.0, full=False, decay=None):
    return model.eval()


TASK = Task(finetune=untrained, calibration=lambda count: iter(()))


@pytest.mark.parametrize(("wave", "transform"), [("dct", scipy.fft.dct), ("dst", scipy.fft.dst)])
@pytest.mark.parametrize("n", [1, 2, 7, 13, 64])
def test_whole_frequencies_are_the_rows_of_the_transform_and_are_found_again(wave, transform, n):
    layer = FrequencyLinear(n, n, wave=wave)
    with torch.no_grad():
        layer.frequencies.copy_(torch.arange(n))
    expected = transform(np.eye(n), type=2, norm="ortho", axis=0)
    weight = layer.weight().detach().numpy()
    short = 0 if wave == "dct" else n - 1  # whose norm the orthonormal transform makes one
    np.testing.assert_allclose(np.delete(weight, short, 0), np.delete(expected, short, 0), atol=1e-5)
    dense = nn.Linear(n, n)
    with torch.no_grad():
        dense.weight.copy_(layer.weight())
    torch.testing.assert_close(FrequencyLinear.of(dense, wave).weight(), layer.weight(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wave", ["dct", "dst"])
@pytest.mark.parametrize("length", [0.1, 1.0, 30.0])
def test_rows_start_in_the_direction_of_a_wave_near_them_whatever_their_length(wave, length):
    dense = filled(nn.Linear(50, 40))
    with torch.no_grad():
        dense.weight.copy_(length * nn.functional.normalize(dense.weight))
    layer = FrequencyLinear.of(dense, wave)
    assert len(layer.frequencies.unique()) > 15, "rows that differ start as waves that differ"
    tried = FrequencyLinear(50, 200, wave=wave)
    with torch.no_grad():
        tried.frequencies.copy_(torch.arange(200) / 4)
    found = nn.functional.cosine_similarity(dense.weight, layer.weight())
    best = (nn.functional.normalize(dense.weight) @ nn.functional.normalize(tried.weight()).T).amax(1)
    torch.testing.assert_close(found, best, atol=1e-4, rtol=1e-4)


def test_waves_are_kept_at_rest_and_follow_their_frequencies():
    layer = filled(FrequencyLinear(9, 4)).eval()
    with torch.no_grad():
        kept = layer.weight()
        assert layer.weight() is kept
        layer.frequencies.add_(0.3)
        assert layer.weight() is not kept
    assert layer.weight().requires_grad


@pytest.mark.parametrize(
    "form", [{"keep": 0.1}, {"calibration": 8}, {"axes": "all"}, {"shape": "largest"}, {"budget": "global"}], ids=str
)
def test_what_says_nothing_of_frequencies_is_refused(form):
    with pytest.raises(ValueError, match=f"{next(iter(form))} says nothing with train=frequencies"):
        DCT(train="frequencies", **form)


def test_lenet_comes_out_at_the_thesiss_count():
    """62 K parameters become 51.2 K: of 120 -> 84 -> 10 a frequency and a bias an output are left."""
    network = trace(build_network("lenet", classes=10, input_shape=(3, 32, 32), seed=0))
    assert sum(one.numel() for one in network.parameters()) == 62_006
    small = DCT(train="frequencies", layers="linear").compress(network, TASK)
    assert sum(one.numel() for one in small.parameters()) == 51_180
    kinds = {path for path, layer in modules_called(small).items() if isinstance(layer, FrequencyLinear)}
    assert kinds == {"fc1", "fc2"}


def test_frequencies_are_trained_and_gradients_are_right():
    layer = filled(FrequencyLinear(5, 3)).double()
    x = drawn(2, 5).double().requires_grad_()
    call = lambda x, f, b: torch.func.functional_call(layer, {"frequencies": f, "bias": b}, (x,))  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, layer.frequencies, layer.bias))
    assert layer.frequencies.requires_grad


def test_a_spread_start_covers_the_spectrum_evenly():
    layer = filled(FrequencyLinear(20, 5))
    layer.spread()
    assert layer.frequencies.tolist() == [0, 4, 8, 12, 16]
    assert layer.bias.abs().sum() == 0


def test_configuration_and_state_make_the_layer_again():
    layer = filled(FrequencyLinear(6, 4, bias=False, wave="dst"))
    again = build("FrequencyLinear", config_of(layer))
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(drawn(2, 6)), layer(drawn(2, 6)))


def test_only_waves_have_frequencies_to_train():
    assert "train" not in DFT.__dataclass_fields__
    reason = DST(train="frequencies").unsupported(trace(nn.Sequential(nn.Conv2d(3, 4, 3))))
    assert "for linear layers of two inputs or more" in (reason or "")
    with pytest.raises(ValueError, match="train must be coefficients or frequencies"):
        DCT(train="phases")
    with pytest.raises(ValueError, match="wave must be dct or dst"):
        FrequencyLinear(3, 3, wave="dft")
