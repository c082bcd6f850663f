"""The small networks of the literature, written out: LeNets, MLP, Conv-6, AlexNet for small images.

Input [n, c, h, w], output logits [n, classes]. Activations are ReLU and pooling is max pooling throughout.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from baselines.errors import UsageError

Shape = tuple[int, int, int]


def sequence(**layers: nn.Module | None) -> nn.Sequential:
    """Layers in order, under names that a size ledger can be read by; None is left out."""
    return nn.Sequential(OrderedDict((name, layer) for name, layer in layers.items() if layer is not None))


def _padding(input_shape: Shape, size: int) -> nn.Module | None:
    """Zero padding of images smaller than `size` pixels, centred; None for larger ones."""
    _, height, width = input_shape
    up, left = max(0, size - height), max(0, size - width)
    if not up and not left:
        return None
    return nn.ZeroPad2d((left // 2, left - left // 2, up // 2, up - up // 2))


def _for_relu(network: nn.Module) -> nn.Module:
    """Initial weights for ReLU: without batch norm, the default's small ones learn slowly."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return network


def lenet(classes: int, input_shape: Shape) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998): three convolutions 6-16-120, 62,006 parameters at 3x32x32 and 10 classes.

    Images smaller than 32 pixels are zero-padded, of larger ones the last feature map is averaged.
    """
    channels, height, width = input_shape
    larger = max(height, width) > 32
    return sequence(
        pad=_padding(input_shape, 32),
        conv1=nn.Conv2d(channels, 6, 5), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
        conv3=nn.Conv2d(16, 120, 5), relu3=nn.ReLU(), average=nn.AdaptiveAvgPool2d(1) if larger else None,
        flatten=nn.Flatten(), fc1=nn.Linear(120, 84), relu4=nn.ReLU(), fc2=nn.Linear(84, classes),
    )  # fmt: skip


def lenet_caffe(classes: int, input_shape: Shape) -> nn.Module:
    """The LeNet-5 of Caffe and of the pruning literature: 20-50-500, 431,080 parameters at 1x28x28 and 10 classes.

    Images smaller than 16 pixels are zero-padded.
    """
    channels, height, width = input_shape
    rows, columns = ((max(side, 16) - 4) // 2 for side in (height, width))
    rows, columns = (rows - 4) // 2, (columns - 4) // 2
    return sequence(
        pad=_padding(input_shape, 16),
        conv1=nn.Conv2d(channels, 20, 5), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(20, 50, 5), pool2=nn.MaxPool2d(2), flatten=nn.Flatten(),
        fc1=nn.Linear(50 * rows * columns, 500), relu=nn.ReLU(), fc2=nn.Linear(500, classes),
    )  # fmt: skip


def lenet300(classes: int, input_shape: Shape) -> nn.Module:
    """LeNet-300-100 (LeCun et al. 1998): 266,610 parameters at 1x28x28 and 10 classes."""
    channels, height, width = input_shape
    return sequence(
        flatten=nn.Flatten(), fc1=nn.Linear(channels * height * width, 300), relu1=nn.ReLU(),
        fc2=nn.Linear(300, 100), relu2=nn.ReLU(), fc3=nn.Linear(100, classes),
    )  # fmt: skip


def mlp(classes: int, input_shape: Shape, width: int = 500, depth: int = 4) -> nn.Module:
    """`depth` hidden layers of `width`: 784-500x4-10 of Park et al. (2020, arXiv 2002.04809), 1,149,010 parameters at
    1x28x28 and 10 classes.

    Raises:
        UsageError: width or depth is below 1.
    """
    if min(width, depth) < 1:
        raise UsageError(
            f"mlp needs width and depth of at least 1, got width={width}, depth={depth}: 500 and 4 are usual"
        )
    sides = [input_shape[0] * input_shape[1] * input_shape[2], *[width] * depth]
    hidden: dict[str, nn.Module] = {}
    for index in range(depth):
        hidden[f"fc{index + 1}"] = nn.Linear(sides[index], sides[index + 1])
        hidden[f"relu{index + 1}"] = nn.ReLU()
    return sequence(flatten=nn.Flatten(), **hidden, **{f"fc{depth + 1}": nn.Linear(width, classes)})


def conv6(classes: int, input_shape: Shape, width: int = 64) -> nn.Module:
    """Conv-6 of Frankle and Carbin (2019, arXiv 1803.03635): pairs of 3x3 convolutions 64, 128, 256 with pooling after
    each pair, linear 256-256; 2,262,602 parameters at 3x32x32 and 10 classes.

    width: outputs of the first convolution, which the others and the linear layers follow. Images smaller than 8 pixels
    are zero-padded.

    Raises:
        UsageError: width is below 1.
    """
    if width < 1:
        raise UsageError(f"conv6:width must be at least 1, got {width}: the original has 64")
    channels, *sides = input_shape
    rows, columns = (max(side, 8) // 8 for side in sides)
    network = sequence(
        pad=_padding(input_shape, 8),
        conv1=nn.Conv2d(channels, width, 3, padding=1), relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 3, padding=1), relu2=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv3=nn.Conv2d(width, 2 * width, 3, padding=1), relu3=nn.ReLU(),
        conv4=nn.Conv2d(2 * width, 2 * width, 3, padding=1), relu4=nn.ReLU(), pool2=nn.MaxPool2d(2),
        conv5=nn.Conv2d(2 * width, 4 * width, 3, padding=1), relu5=nn.ReLU(),
        conv6=nn.Conv2d(4 * width, 4 * width, 3, padding=1), relu6=nn.ReLU(), pool3=nn.MaxPool2d(2),
        flatten=nn.Flatten(), fc1=nn.Linear(4 * width * rows * columns, 4 * width), relu7=nn.ReLU(),
        fc2=nn.Linear(4 * width, 4 * width), relu8=nn.ReLU(), fc3=nn.Linear(4 * width, classes),
    )  # fmt: skip
    return _for_relu(network)


def alexnet(classes: int, input_shape: Shape, width: int = 4096) -> nn.Module:
    """AlexNet (Krizhevsky et al. 2012) in its form for small images: 3x3 convolutions, a 2x2 last feature map.

    width: outputs of its two hidden linear layers.

    Raises:
        UsageError: the image has fewer than 16 pixels a side, or width is below 1.
    """
    channels = input_shape[0]
    if width < 1:
        raise UsageError(f"alexnet:width must be at least 1, got {width}: the original has 4096")
    if min(input_shape[1:]) < 16:
        raise UsageError(
            f"alexnet needs images of at least 16 pixels, got {input_shape[1:]}: "
            "add :size=16 to --dataset, or take lenet"
        )
    features = sequence(
        conv1=nn.Conv2d(channels, 64, 3, stride=2, padding=1), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(64, 192, 3, padding=1), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
        conv3=nn.Conv2d(192, 384, 3, padding=1), relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 256, 3, padding=1), relu4=nn.ReLU(),
        conv5=nn.Conv2d(256, 256, 3, padding=1), relu5=nn.ReLU(),
    )  # fmt: skip
    side = 2 if min(input_shape[1:]) >= 32 else 1  # of the last map, so that no value is a copy of another
    classifier = sequence(
        pool=nn.AdaptiveMaxPool2d(side), flatten=nn.Flatten(),
        dropout1=nn.Dropout(), fc1=nn.Linear(256 * side * side, width), relu1=nn.ReLU(),
        dropout2=nn.Dropout(), fc2=nn.Linear(width, width), relu2=nn.ReLU(), fc3=nn.Linear(width, classes),
    )  # fmt: skip
    network = sequence(features=features, classifier=classifier)
    _for_relu(network)
    nn.init.normal_(classifier[-1].weight, std=0.01)  # type: ignore[arg-type]
    return network
