"""Products by oneDNN are those of torch, wherever it is taken."""

import pytest
import torch
import torch.nn.functional as F

from methods.layers import products
from tests.drawing import drawn


@pytest.fixture
def taken(monkeypatch) -> list:
    """Products that oneDNN was given."""
    found, product = [], products._product
    monkeypatch.setattr(products, "_product", lambda *tensors: found.append(tensors) or product(*tensors))
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(300,), (1, 300), (40, 300), (3, 50, 300), (0, 300)])
def test_linear_is_torchs(shape, bias, taken):
    x, weight, extra = drawn(*shape), drawn(310, 300), drawn(310) if bias else None
    with torch.no_grad():
        for one in (weight, drawn(300, 310).T):  # a basis is used from both sides
            torch.testing.assert_close(products.linear(x, one, extra), F.linear(x, one, extra), rtol=1e-4, atol=1e-3)
    assert len(taken) == (2 if x.numel() >= 8 * 300 and torch.backends.mkldnn.is_available() else 0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 96, 16, 15), (3, 96, 9, 16), (96, 16, 16), (1, 96, 1, 1), (0, 96, 4, 4)])
def test_pointwise_is_a_convolution(shape, layout, bias, taken):
    x, matrix, extra = drawn(*shape), drawn(64, 96), drawn(64) if bias else None
    x = x.to(memory_format=layout) if x.dim() == 4 else x
    with torch.no_grad():
        found, expected = products.pointwise(x, matrix, extra), F.conv2d(x, matrix[:, :, None, None], extra)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.numel() == 0 or found.stride() == expected.stride()


@pytest.mark.parametrize("to", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 96, 16, 15), (3, 96, 14, 16), (2, 96, 3, 4)])
def test_pointwise_in_another_layout(shape, layout, to):
    x, matrix, extra = drawn(*shape).to(memory_format=layout), drawn(96, 64).T, drawn(64)
    with torch.no_grad():
        found, expected = products.pointwise(x, matrix, extra, to=to), F.conv2d(x, matrix[:, :, None, None], extra)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert to == torch.channels_last or found.is_contiguous()


def test_pointwise_of_groups():
    x, matrix = drawn(2, 12, 5, 5), drawn(3, 4)
    expected = F.conv2d(x, matrix.repeat(3, 1)[:, :, None, None], groups=3)
    torch.testing.assert_close(products.pointwise(x, matrix, groups=3), expected)


def test_no_other_precision_and_no_gradient_goes_to_onednn(taken):
    x, weight = drawn(64, 256), drawn(256, 256)
    with torch.no_grad():
        products.linear(x.double(), weight.double())
        products.linear(x.bfloat16(), weight.bfloat16())
        with torch.autocast("cpu"):
            assert products.linear(x, weight).dtype == torch.bfloat16
    with torch.enable_grad():
        assert products.linear(x, weight.requires_grad_()).requires_grad
    assert taken == []
