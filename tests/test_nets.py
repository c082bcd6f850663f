"""Networks: sizes of the literature, small-image stems, weights, a person's own file; and all of them can be traced."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from baselines.errors import UsageError
from baselines.nets import NETS, build
from methods.graph import trace

COLOUR, GREY28, GREY16 = (3, 32, 32), (1, 28, 28), (1, 16, 16)


def parameters(model):
    return sum(tensor.numel() for tensor in model.parameters())


def make(spec, shape=COLOUR, classes=10, seed=0, **more):
    return build(spec, classes=classes, input_shape=shape, seed=seed, **more)


@pytest.mark.parametrize(
    ("spec", "shape", "count"),
    [
        ("lenet", COLOUR, 62_006),
        ("lenet", GREY28, 61_706),
        ("lenet_caffe", GREY28, 431_080),
        ("lenet300", GREY28, 266_610),
        ("mlp", GREY28, 1_149_010),
        ("mlp:width=300:depth=1", GREY28, 238_510),
        ("conv6", COLOUR, 2_262_602),
        ("resnet8", COLOUR, 77_946),
        ("wrn", COLOUR, 10_961_370),
        ("wrn:depth=28:width=10", COLOUR, 36_479_194),
        ("resnet18", COLOUR, 11_173_962),
    ],
)
def test_sizes_are_those_of_the_literature(spec, shape, count):
    assert parameters(make(spec, shape)) == count


@pytest.mark.parametrize("spec", [*NETS, "resnet18"])
@pytest.mark.parametrize(("shape", "classes"), [(GREY16, 2), ((3, 33, 40), 7), ((2, 64, 64), 10)])
def test_every_size_of_image_gives_logits_and_can_be_traced(spec, shape, classes):
    narrow = {"alexnet": "alexnet:width=64", "wrn": "wrn:width=2", "conv6": "conv6:width=8"}
    model = make(narrow.get(spec, spec), shape, classes)
    images = torch.randn(3, *shape)
    with torch.no_grad():
        logits = model(images)
        assert logits.shape == (3, classes)
        torch.testing.assert_close(trace(model)(images), logits)


@pytest.mark.parametrize(
    "spec", ["densenet121", "mobilenet_v2", "vgg11_bn", "efficientnet_b0", "convnext_tiny", "vit_b_16", "googlenet"]
)
def test_torchvision_networks_take_small_images_and_can_be_traced(spec):
    model = make(spec, (1, 32, 32), 5)  # `build` has checked the shape of its output
    trace(model)
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    assert first.in_channels == 1
    assert first.stride == (1, 1) or first.kernel_size == first.stride, "a patch embedding, or no downsampling"


def test_a_small_image_keeps_its_resolution_through_the_stem_and_a_large_one_does_not():
    small, large = make("resnet18", (3, 64, 64)), make("resnet18", (3, 65, 65))
    assert isinstance(small.maxpool, nn.Identity)
    assert small.conv1.kernel_size == (3, 3)
    assert isinstance(large.maxpool, nn.MaxPool2d)
    assert large.conv1.kernel_size == (7, 7)


@pytest.mark.parametrize(
    "spec", ["lenet", "mlp", "conv6:width=8", "alexnet:width=16", "resnet8", "wrn:width=1", "mobilenet_v3_small"]
)
def test_initial_weights_depend_on_the_seed_alone(spec):
    torch.manual_seed(1)
    one = make(spec, seed=5).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    same, other = make(spec, seed=5).state_dict(), make(spec, seed=6).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left as it was"
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("spec", "shape", "words"),
    [
        ("resnet81", COLOUR, "did you mean 'resnet8'"),
        ("zzz", COLOUR, "known: lenet"),
        ("alexnet:with=3", COLOUR, "did you mean 'width'"),
        ("alexnet:width=big", COLOUR, "give a number"),
        ("alexnet:width=0", COLOUR, "at least 1"),
        ("alexnet:width=8:width=9", COLOUR, "twice"),
        ("mlp:depth=0", COLOUR, "width and depth of at least 1, got width=500, depth=0"),
        ("conv6:width=0", COLOUR, "at least 1, got 0"),
        ("wrn:depth=18", COLOUR, r"6 n \+ 4, got 18"),
        ("wrn:depth=4", COLOUR, r"6 n \+ 4, got 4"),
        ("wrn:width=0", COLOUR, "at least 1, got 0"),
        ("lenet:5", COLOUR, "key=value"),
        ("resnet18:width=3", COLOUR, "no option"),
        ("vgg11_bn", GREY16, "cannot take images of 1x16x16"),
        ("vit_b_16", GREY28, "multiple of 16"),
        ("net.py", COLOUR, "FUNCTION"),
        ("nowhere/net.py:make", COLOUR, "no file"),
    ],
)
def test_what_cannot_be_built_says_why(spec, shape, words):
    with pytest.raises(UsageError, match=words) as raised:
        make(spec, shape)
    assert "\n" not in str(raised.value)


def test_timm_without_timm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match="pip install timm"):
        make("timm:resnet10t")


OWN = """
import dataclasses
from beside import WIDTH
from torch import nn

@dataclasses.dataclass
class Shape:
    classes: int

def make(num_classes, in_channels, width=WIDTH):
    shape = Shape(num_classes)
    return nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(width, shape.classes))

def three_classes(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
def nothing(classes): return "network"
def broken(input_shape): raise KeyError("mine")
"""


@pytest.fixture
def own_file(tmp_path):
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    (tmp_path / "torch_net.py").write_text(OWN)
    return tmp_path / "torch_net.py"


def test_a_persons_own_file_gives_a_network(own_file):
    modules, path = set(sys.modules), list(sys.path)
    assert make(f"{own_file}:make")[0].out_channels == 5
    assert make(f"{own_file}:make:width=7")[0].out_channels == 7
    assert sys.path == path
    assert "torch_net" not in sys.modules, "it has a private name, so it hides no module of ours"
    assert all("beside" in name or name.startswith("_own_network_") for name in set(sys.modules) - modules)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("mak", "did you mean 'make'"),
        ("make:widht=3", "did you mean 'width'"),
        ("make:width=x", "not a int"),
        ("nothing", "return an nn.Module"),
        ("broken", "KeyError: 'mine'"),
        ("three_classes", r"expected \(2, 10\)"),
    ],
)
def test_faults_of_an_own_file_are_told(own_file, call, words):
    with pytest.raises(UsageError, match=words):
        make(f"{own_file}:{call}")


def test_an_own_file_that_cannot_be_imported_is_told(tmp_path):
    (tmp_path / "bad.py").write_text("import surely_missing_module\n")
    with pytest.raises(UsageError, match="surely_missing_module"):
        make(f"{tmp_path / 'bad.py'}:make")


@pytest.mark.parametrize("form", ["plain.pt", "wrapped.pth", "parallel.pt", "safe.safetensors"])
def test_weights_come_back_whatever_they_are_wrapped_in(tmp_path, form):
    state, path = make("lenet", seed=1).state_dict(), tmp_path / form
    if form == "safe.safetensors":
        save_file(state, path)
    else:
        wrapped = {"wrapped.pth": {"state_dict": state, "epoch": 3},
                   "parallel.pt": {f"module.{name}": value for name, value in state.items()}}  # fmt: skip
        torch.save(wrapped.get(form, state), path)
    loaded = make("lenet", seed=2, weights=path).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_weights_that_do_not_fit_name_tensors_and_shapes(tmp_path):
    path = tmp_path / "other.pt"
    state = make("lenet", classes=7).state_dict()
    state["stranger"] = state.pop(next(iter(state)))
    torch.save(state, path)
    with pytest.raises(
        UsageError, match=r"missing: conv1\.weight.*unexpected: stranger.*\[7, 84\], the network has \[10"
    ):
        make("lenet", weights=path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_damaged_weights_file_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a readable state dict"):
        make("lenet", weights=path)


class _Hostile:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_weights_file_cannot_run_code(tmp_path, capsys):
    torch.save({"weight": _Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(UsageError, match="not a readable state dict"):
        make("lenet", weights=tmp_path / "hostile.pt")
    assert "code ran" not in capsys.readouterr().out


def test_pretrained_weights_are_refused_where_there_are_none():
    with pytest.raises(UsageError, match="no pretrained weights"):
        make("lenet", pretrained=True)


def test_importing_baselines_imports_no_torchvision():
    code = "import sys, baselines.nets, baselines.data, baselines.training; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
