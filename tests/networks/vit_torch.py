"""The small vision transformer in PyTorch: NCHW images, tokens (images, tokens, channels)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks.vit import CHANNELS, CLASSES, DEPTH, EPSILON, GRID, HEADS, HIDDEN, PATCH, vit_weights


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(CHANNELS, EPSILON), nn.LayerNorm(CHANNELS, EPSILON)
        self.qkv, self.proj = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.fc1, self.fc2 = nn.Linear(CHANNELS, HIDDEN), nn.Linear(HIDDEN, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    def __init__(self, leading: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, PATCH, PATCH)
        self.leading = nn.Parameter(torch.zeros(1, leading, CHANNELS))
        self.places = nn.Parameter(torch.zeros(1, leading + GRID[0] * GRID[1], CHANNELS))
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(CHANNELS, EPSILON), nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.leading.expand(len(x), -1, -1), x], dim=1) + self.places
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0] if self.leading.shape[1] else x.mean(dim=1))


def vit(leading: int, dtype: str = "float32") -> nn.Module:
    """The network with its seeded weights, ready for inference."""
    state = {}
    for name, array in vit_weights(leading).items():
        layer, _, last = name.rpartition(".")
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if last == "kernel" else array
        known = {"kernel": "weight", "scale": "weight"}.get(last, last)
        state[known if layer == "tokens" else f"{layer}.{known}"] = torch.tensor(array)
    network = VisionTransformer(leading).to(getattr(torch, dtype))
    network.load_state_dict(state)
    return network.eval()
