"""Encoders, decoder and heads around the RSSM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twist_policy.contract import PolicyContract
from twist_training.modules.distributions import TruncatedNormal


def mlp(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    """`layers` hidden layers of `width` with ELU, then a linear output."""
    modules: list[nn.Module] = []
    size = inputs
    for _ in range(layers):
        modules += [nn.Linear(size, width), nn.ELU(inplace=True)]
        size = width
    modules.append(nn.Linear(size, outputs))
    return nn.Sequential(*modules)


def initialise(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases in every layer of `module`.

    The default of TensorFlow, and so what DreamerV2's published numbers were trained from.
    PyTorch's own default is smaller by the square root of three: through the eight layers from a
    state to its reconstruction little is left of the signal, and a world model takes twice as many
    steps to the same loss.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class StateScaling(nn.Module):
    """Privileged state in SI units <-> the well-scaled numbers that networks see.

    Args:
        contract: gives offset and scale of every field.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, contract: PolicyContract) -> None:
        super().__init__()
        offset = [value for field in contract.state for value in field.offset]
        scale = [field.scale for field in contract.state for _ in range(field.size)]
        self.register_buffer("offset", torch.tensor(offset))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, state: Tensor) -> Tensor:
        """SI (..., S) -> scaled (..., S)."""
        return (state - self.offset) * self.scale

    def to_si(self, scaled: Tensor) -> Tensor:
        """Scaled (..., S) -> SI (..., S)."""
        return scaled / self.scale + self.offset


class ImageEncoder(nn.Module):
    """Images (and, optionally, the measured end-effector position) -> embedding.

    Four stride-2 convolutions as in DreamerV2. GroupNorm with one group (layer norm over
    channels and pixels) and padding are options that the published network does not have.
    The output is linear, so that it can match the teacher's embedding.

    Args:
        depth: channels of the first convolution; doubled by each following one.
        embedding_size: E.
        image_size: edge of the square input, pixels.
        norm: GroupNorm(1) after each convolution.
        padding: zero padding of each convolution, pixels.
        position_size: how many proprioceptive numbers are a second input; 0 for none.
        state_size: size of the auxiliary state estimate.
        equalise: divide every image by its mean, one gain for all channels: exposure then
            changes nothing but noise and clipping, and hues stay.
    """

    def __init__(
        self,
        depth: int,
        embedding_size: int,
        *,
        image_size: int,
        norm: bool,
        padding: int,
        position_size: int,
        state_size: int,
        equalise: bool = False,
        width: int = 256,
    ) -> None:
        super().__init__()
        self.equalise = equalise
        layers: list[nn.Module] = []
        channels, edge = 3, image_size
        for multiple in (1, 2, 4, 8):
            layers.append(nn.Conv2d(channels, depth * multiple, 4, 2, padding))
            channels, edge = depth * multiple, (edge + 2 * padding - 4) // 2 + 1
            if norm:
                layers.append(nn.GroupNorm(1, channels))
            layers.append(nn.ELU(inplace=True))
        self.convolutions = nn.Sequential(*layers)
        self.position_size = position_size
        self.fuse = nn.Sequential(
            nn.Linear(channels * edge * edge + 64 * (position_size > 0), width),
            nn.ELU(inplace=True),
        )
        self.position = (
            nn.Sequential(nn.Linear(position_size, 64), nn.ELU(inplace=True))
            if position_size
            else nn.Identity()
        )
        self.embedding = mlp(width + position_size, width, 1, embedding_size)
        self.state = nn.Linear(width + position_size, state_size)

    def features(self, image: Tensor, position: Tensor) -> Tensor:
        """Shared features (N, F) of images (N, 3, W, W) in [-.5, .5] and positions (N, P)."""
        if self.equalise:
            mean = (image.mean((1, 2, 3), keepdim=True) + 0.5).clamp(min=0.02)
            gain = 0.4 / mean
            image = torch.addcmul(0.5 * gain - 0.5, image, gain)
        visual = self.convolutions(image).flatten(1)
        if self.position_size > 0:
            visual = torch.cat([visual, self.position(position).to(visual.dtype)], -1)
            return torch.cat([self.fuse(visual), position.to(visual.dtype)], -1)
        return self.fuse(visual)

    def forward(self, image: Tensor, position: Tensor) -> Tensor:
        """Embedding (N, E) of images (N, 3, W, W) in [-.5, .5] and scaled positions (N, P)."""
        return self.embedding(self.features(image, position))


class Actor(nn.Module):
    """Latent state -> distribution over actions in [-1, 1] (truncated normal, DreamerV2).

    Args:
        features: size of [h, z].
        action_size: A.
        width: hidden width.
        layers: hidden layers.
        min_std: smallest standard deviation.
    """

    def __init__(
        self, features: int, action_size: int, width: int, layers: int, min_std: float = 0.1
    ) -> None:
        super().__init__()
        self.network = mlp(features, width, layers, 2 * action_size)
        self.min_std = min_std

    @property
    def last_layer(self) -> nn.Linear:
        """What puts out A means before tanh, then A numbers that become standard deviations."""
        layer = self.network[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, features: Tensor) -> TruncatedNormal:
        """Action distribution at [h, z] (..., F)."""
        mean, std = self.network(features).float().chunk(2, -1)
        return TruncatedNormal(torch.tanh(mean), 2.0 * torch.sigmoid(std / 2.0) + self.min_std)
