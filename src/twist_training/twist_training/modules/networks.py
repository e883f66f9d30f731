"""Encoders, decoder and heads around the RSSM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from twist_policy.contract import PolicyContract
from twist_sim.camera_geometry import matrix_from_quaternion
from twist_training.modules.distributions import TruncatedNormal

_SPOT = 2.0
"""Standard deviation of the spot that shows the tool tip, network pixels."""


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


class ToolSpot(nn.Module):
    """A plane of the network's image with a round spot where the tool tip should be seen.

    By the measured position and a camera that stands exactly in its place: how far the tool is
    seen from its spot tells how far the camera stands from its place, which a network that is
    given the position as three numbers is slow to learn.

    Args:
        contract: the camera, the image path, and the scaling of positions.
    """

    if TYPE_CHECKING:  # TorchScript cannot read postponed annotations of attributes
        pixels: Tensor
        axes: Tensor
        origin: Tensor
        offset: Tensor
        scale: Tensor

    def __init__(self, contract: PolicyContract) -> None:
        super().__init__()
        camera, image = contract.camera, contract.image
        pitch = image.crop_size / image.size
        self.focal_x, self.focal_y = camera.fx / pitch, camera.fy / pitch
        # In network pixels, from the centre of the first one.
        self.centre_x = (camera.cx - image.crop_x) / pitch - 0.5
        self.centre_y = (camera.cy - image.crop_y) / pitch - 0.5
        self.spread = _SPOT
        scaling, tool = StateScaling(contract), contract.state_slice("ee_position")
        for name, value in {
            "pixels": torch.arange(image.size),
            "axes": torch.from_numpy(matrix_from_quaternion(camera.orientation).T.copy()),
            "origin": torch.tensor(camera.position),
            "offset": scaling.offset[tool].clone(),
            "scale": scaling.scale[tool].clone(),
        }.items():
            # Of the contract, not learned: a checkpoint of the training has no need of them.
            self.register_buffer(name, value.float(), persistent=False)

    def forward(self, position: Tensor) -> Tensor:
        """Planes (N, 1, W, W), 1 in the middle of the spot, for scaled tool tips (N, 3)."""
        from_camera = position.float() / self.scale + self.offset - self.origin
        # Not a matrix product, which autocast would round to three digits.
        x, y, depth = (from_camera[:, None, :] * self.axes).sum(-1).unbind(-1)
        depth = depth.clamp(min=0.01)
        column = self.focal_x * x / depth + self.centre_x
        row = self.focal_y * y / depth + self.centre_y
        across, down = self._bell(column), self._bell(row)
        return (down[:, :, None] * across[:, None, :])[:, None]

    def _bell(self, middle: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((self.pixels - middle[:, None]) / self.spread).square())


_MULTIPLES = (1, 2, 4, 8)
"""Channels of each convolution, as multiples of the first one's."""


def edge_after_convolutions(image_size: int, padding: int) -> int:
    """Edge of what `ImageEncoder`'s convolutions leave, pixels; below 1 where it is too small."""
    edge = image_size
    for _ in _MULTIPLES:
        edge = (edge + 2 * padding - 4) // 2 + 1
    return edge


class ImageEncoder(nn.Module):
    """Images (and, optionally, the measured end-effector position) -> embedding.

    Four stride-2 convolutions as in DreamerV2. GroupNorm with one group (layer norm over
    channels and pixels), padding and a plane that shows the tool are options that the published
    network does not have. The output is linear, so that it can match the teacher's embedding.

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
        tool_spot: makes a fourth input plane of the position; None for none.
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
        tool_spot: ToolSpot | None = None,
        width: int = 256,
    ) -> None:
        super().__init__()
        self.equalise = equalise
        layers: list[nn.Module] = []
        self.tool_spot = tool_spot
        channels, edge = 3 if tool_spot is None else 4, edge_after_convolutions(image_size, padding)
        for multiple in _MULTIPLES:
            layers.append(nn.Conv2d(channels, depth * multiple, 4, 2, padding))
            channels = depth * multiple
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
        if self.tool_spot is not None:
            image = torch.cat([image, self.tool_spot(position)], 1)
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
