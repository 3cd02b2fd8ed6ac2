"""A U-Net on images of 28x28, and what makes a denoiser of it: for real numbers, and for bits."""

from torch import Tensor, nn

SIDE = 28


class UNet(nn.Module):
    """[n, 784] to [n, 784] by diffusers' UNet2DModel, which starts at 0."""

    def __init__(self, channels: tuple[int, ...] = (64, 128)) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        down, up = (tuple(f"{way}Block2D" for _ in channels) for way in ("Down", "Up"))
        self.net = UNet2DModel(
            SIDE, 1, 1, layers_per_block=1, block_out_channels=channels, down_block_types=down, up_block_types=up
        )
        nn.init.zeros_(self.net.conv_out.weight)
        nn.init.zeros_(self.net.conv_out.bias)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.net(x.view(-1, 1, SIDE, SIDE), 100 * sigma.log()).sample.flatten(1)


class OfNumbers(nn.Module):
    """EDM's preconditioning (arXiv 2206.00364, Table 1) of data around 0."""

    def __init__(self, net: nn.Module, std: float) -> None:
        super().__init__()
        self.net, self.std = net, std

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        square = sigma.square().unsqueeze(1)
        total = (square + self.std**2).sqrt()
        return x * (self.std / total).square() + self.net(x / total, sigma).float() * square.sqrt() * self.std / total


class OfBits(nn.Module):
    """Posterior mean tanh(x / sigma^2 + F) of bits that are -1 or 1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        own = x / sigma.square().unsqueeze(1)
        return (own + self.net(own.tanh(), sigma).float()).tanh()
