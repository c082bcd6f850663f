"""Residual networks for small images, written out: ResNet-8 and wide ResNets.

Input [n, c, h, w], output logits [n, classes].
"""

from __future__ import annotations

from torch import Tensor, nn

from baselines.errors import UsageError
from baselines.nets.classic import Shape, sequence


def _for_relu(network: nn.Module) -> nn.Module:
    """Initial weights of convolutions in front of ReLU (He et al. 2015, arXiv 1502.01852)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: identity, or a 1x1 convolution where the shape changes.

    [n, inputs, h, w] -> [n, outputs, h / stride, w / stride], rounded up
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet8(classes: int, input_shape: Shape) -> nn.Module:
    """ResNet-8 of MLPerf Tiny (arXiv 2106.07597): 16-32-64, a block each; 77,946 parameters at 3x32x32, 10 classes.

    The reference's convolution biases in front of batch norms, which do nothing, are left out.
    """
    network = sequence(
        conv=nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False), bn=nn.BatchNorm2d(16), relu=nn.ReLU(),
        block1=_Block(16, 16, 1), block2=_Block(16, 32, 2), block3=_Block(32, 64, 2),
        average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(64, classes),
    )  # fmt: skip
    return _for_relu(network)


class _WideBlock(nn.Module):
    """Batch norm and ReLU in front of each of two 3x3 convolutions, and a shortcut: identity, or a 1x1 convolution of
    what the first ReLU gives where the shape changes.

    [n, inputs, h, w] -> [n, outputs, h / stride, w / stride], rounded up
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(outputs), nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(x))
        past = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(self.relu2(self.bn2(self.conv1(y)))) + past


def wrn(classes: int, input_shape: Shape, depth: int = 16, width: int = 8) -> nn.Module:
    """Wide ResNet (Zagoruyko and Komodakis 2016, arXiv 1605.07146), without dropout: WRN-16-8 has 10,961,370 parameters
    at 3x32x32 and 10 classes.

    depth: convolutions and the linear layer, 6 n + 4. width: factor of the channels 16-32-64.

    Raises:
        UsageError: depth is not 6 n + 4 with n of at least 1, or width is below 1.
    """
    if depth < 10 or (depth - 4) % 6:
        raise UsageError(f"wrn:depth must be 6 n + 4, got {depth}: 10, 16, 22, 28 or 40")
    if width < 1:
        raise UsageError(f"wrn:width must be at least 1, got {width}: 8 is usual at depth 16")
    layers: list[nn.Module] = []
    inputs = 16
    for stage in range(3):
        for index in range((depth - 4) // 6):
            layers.append(_WideBlock(inputs, 16 * 2**stage * width, 2 if stage and not index else 1))
            inputs = 16 * 2**stage * width
    blocks = {f"block{index + 1}": layer for index, layer in enumerate(layers)}
    return _for_relu(
        sequence(
            conv=nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False), **blocks,
            bn=nn.BatchNorm2d(inputs), relu=nn.ReLU(),
            average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(inputs, classes),
        )
    )  # fmt: skip
