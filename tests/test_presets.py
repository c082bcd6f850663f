"""Layer-wise rates are those of the published code (hyperparameter.py of Park et al. 2020), network by network."""

import pytest

from baselines.nets import build
from methods.graph import trace
from methods.layers import weights
from methods.pruning.presets import lookahead_rates

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
PUBLISHED = [
    ("mlp", GREY, [0.5] * 4 + [0.25]),
    ("lenet300", GREY, [0.5] * 2 + [0.25]),
    ("lenet", COLOUR, [0.2, 0.2, 0.3, 0.3, 0.15]),
    ("lenet_caffe", GREY, [0.2, 0.2, 0.3, 0.15]),
    ("conv6:width=8", COLOUR, [0.15] * 6 + [0.2, 0.2, 0.1]),
    ("vgg11_bn", COLOUR, [0.15] * 10 + [0.1]),  # torchvision's have two hidden linear layers, the published none
    ("vgg16_bn", COLOUR, [0.15] * 15 + [0.1]),
    ("wrn:width=2", COLOUR, [0] + [0.15] * 15 + [0.1]),  # 12 convolutions and 3 shortcuts, left out in the published
    ("resnet18", COLOUR, [0] + [0.15] * 19 + [0.1]),  # 16 convolutions and 3 shortcuts
]


@pytest.mark.parametrize(("spec", "shape", "rates"), PUBLISHED, ids=lambda one: one if isinstance(one, str) else "")
def test_rates_are_the_published_ones(spec, shape, rates):
    model = trace(build(spec, classes=10, input_shape=shape, seed=0))
    stored = list(weights(model))
    assert lookahead_rates(model, stored) == rates, "stored in the order of the data flow"
    shuffled = stored[::-1]
    assert lookahead_rates(model, shuffled)[::-1] == rates, "whatever the order of the tensors"
