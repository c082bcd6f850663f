"""Fast transforms equal products with the basis, everywhere they exist, and so do their gradients."""

import pytest
import torch

from methods.layers.bases import BASES, basis
from methods.layers.fast import analysis, has_fast, synthesis
from methods.layers.spectral import COMPILED_BATCH, SpectralLinear

SIZES = [*range(1, 66), 100, 127, 128, 250, 256, 1024]
FAST = [(kind, n) for kind in BASES for n in SIZES if has_fast(kind, n)]
KINDS = sorted({kind for kind, _ in FAST})


def rows_to_try(n: int) -> list[int]:
    return sorted({1, 2, n // 4, n // 3, n // 2, n // 2 + 1, n - 1, n} & set(range(1, n + 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_products_with_the_basis(kind):
    generator = torch.Generator().manual_seed(1)
    for n in (n for one, n in FAST if one == kind):
        x = torch.randn(3, n, generator=generator)
        for rows in rows_to_try(n):
            matrix = basis(kind, n, rows).float()
            z = torch.randn(3, rows, generator=generator)
            torch.testing.assert_close(analysis(kind, x, rows), x @ matrix.T, rtol=0, atol=2e-5, msg=f"{n} {rows}")
            torch.testing.assert_close(synthesis(kind, z, n), z @ matrix, rtol=0, atol=2e-5, msg=f"{n} {rows}")


def test_every_power_of_two_and_every_fourier_length_is_fast():
    assert KINDS == ["dct", "dft", "dst", "haar", "hadamard"]
    assert {n for kind, n in FAST if kind == "dct"} == set(SIZES)
    assert {n for kind, n in FAST if kind == "haar"} == {n for n in SIZES if n & (n - 1) == 0}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(16,), (2, 3, 16), (0, 16)])
def test_any_number_of_axes_and_strides(kind, shape):
    x = torch.randn(*shape[:-1], 2 * shape[-1])[..., ::2]
    matrix = basis(kind, 16, 5).float()
    torch.testing.assert_close(analysis(kind, x, 5), x @ matrix.T)
    torch.testing.assert_close(synthesis(kind, x[..., :5], 16), x[..., :5] @ matrix)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [4, 13, 16])
def test_gradients_are_those_of_the_products(kind, rows):
    matrix = basis(kind, 16, rows).float()
    for fast, product in (
        (lambda x: analysis(kind, x, rows), lambda x: x @ matrix.T),
        (lambda z: synthesis(kind, z[..., :rows], 16), lambda z: z[..., :rows] @ matrix),
    ):
        found, expected = torch.randn(2, 16, requires_grad=True), None
        expected = found.detach().clone().requires_grad_()
        weights = torch.randn_like(product(expected))
        (fast(found) * weights).sum().backward()
        (product(expected) * weights).sum().backward()
        torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_goes_in_and_comes_out(kind):
    x = torch.randn(4, 64).bfloat16()
    out = analysis(kind, x, 16)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), x.float() @ basis(kind, 64, 16).float().T, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "rows"), [(8, 3), (8, 8), (16, 9)])
def test_float64_stays_float64_and_passes_gradcheck(kind, n, rows):
    x = torch.randn(2, 3, n, dtype=torch.float64, requires_grad=True)
    matrix = basis(kind, n, rows)
    torch.testing.assert_close(analysis(kind, x, rows), x @ matrix.T, rtol=0, atol=1e-12)
    for transform, size in ((lambda x: analysis(kind, x, rows), n), (lambda z: synthesis(kind, z, n), rows)):
        argument = x[..., :size].detach().requires_grad_()
        assert torch.autograd.gradcheck(transform, argument)
        assert torch.autograd.gradgradcheck(transform, argument)


@pytest.mark.parametrize("kind", ["dct", "dst", "dft"])
@pytest.mark.parametrize("n", [12, 15])
def test_odd_lengths_pass_gradcheck(kind, n):
    x = torch.randn(2, n, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: synthesis(kind, analysis(kind, x, 7), n), x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_blocks_of_inputs_give_what_one_at_a_time_gives(kind, count):
    x = torch.randn(count, 3, 1024)
    found = analysis(kind, x, 100)
    assert found.is_contiguous()
    torch.testing.assert_close(found[-1, 1], analysis(kind, x[-1, 1], 100))
    torch.testing.assert_close(synthesis(kind, found, 1024)[-1, 2], synthesis(kind, found[-1, 2], 1024))


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_out_may_be_changed_in_place(kind):
    x = torch.randn(300, 1024, requires_grad=True)
    synthesis(kind, analysis(kind, x, 1024), 1024).add_(1).sum().backward()
    assert (x.grad - 1).abs().max() < 1e-4  # all rows of an orthonormal basis: the identity


@pytest.mark.parametrize(("kind", "n"), [("haar", 12), ("hadamard", 12), ("db2", 16), ("random:1", 16)])
def test_what_has_no_fast_transform_is_refused(kind, n):
    assert not has_fast(kind, n)
    for transform in (lambda: analysis(kind, torch.zeros(n), 2), lambda: synthesis(kind, torch.zeros(2), n)):
        with pytest.raises(ValueError, match=f"no fast transform of kind '{kind}' and length {n}"):
            transform()


def test_more_rows_than_the_length_are_refused():
    with pytest.raises(ValueError, match="1 to n rows"):
        synthesis("dct", torch.zeros(9), 8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_operators_keep_what_they_promise_to_the_compiler(kind):
    for op, size in ((torch.ops.spectral.analysis.default, 13), (torch.ops.spectral.synthesis.default, 64)):
        x = torch.randn(3, 2, 64 if size == 13 else 13, requires_grad=True)
        torch.library.opcheck(op, (kind, x, size))
        torch.library.opcheck(op, (kind, x.detach()[:0].requires_grad_(), size))
        torch.library.opcheck(op, (kind, x.detach().bfloat16().transpose(0, 1), size))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_on_fast_transforms_is_one_compiled_graph(kind):
    layer = SpectralLinear(2048, 2048, 1500, 1500, basis_kind=kind)
    assert layer.path((COMPILED_BATCH, 2048)) == "fast", "the test needs a layer that takes this path"
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(3, 2048, requires_grad=True)
    torch.testing.assert_close(compiled(x), layer(x), atol=1e-5, rtol=1e-4)
    slopes = [torch.autograd.grad(one(x).square().sum(), [x, *layer.parameters()]) for one in (layer, compiled)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # by torch's forward mode
@pytest.mark.parametrize("kind", KINDS)
def test_functional_derivatives_are_those_of_the_products(kind):
    matrix, x = basis(kind, 16, 5).float(), torch.randn(3, 16)
    for transform, other in ((lambda v: analysis(kind, v, 5), lambda v: v @ matrix.T),
                             (lambda v: synthesis(kind, v[..., :5], 16), lambda v: v[..., :5] @ matrix)):  # fmt: skip
        for derive in (torch.func.jacrev, torch.func.jacfwd):
            torch.testing.assert_close(derive(transform)(x), derive(other)(x), atol=1e-5, rtol=1e-5)
