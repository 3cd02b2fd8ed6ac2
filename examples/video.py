"""A noise level for each frame (diffusion forcing) and clips of different lengths, on the CPU.

The clips are a dot that moves at a speed of its own: what a frame shows follows from the frames before it.
"""

import torch

import infonoise_ext as inx

FRAMES, SIZE, BATCH = 8, 16, 64


def clips(n):
    """Clips [n, FRAMES, SIZE] of a dot, and which frames are there [n, FRAMES]: the rest is padding."""
    start, speed = torch.randint(SIZE, (n, 1)), torch.randint(-2, 3, (n, 1))
    place = (start + speed * torch.arange(FRAMES)) % SIZE
    length = torch.randint(FRAMES // 2, FRAMES + 1, (n, 1))
    return 2 * torch.nn.functional.one_hot(place, SIZE).float() - 1, torch.arange(FRAMES) < length


class Net(torch.nn.Module):
    """A recurrent denoiser: each frame is seen with its own noise level."""

    def __init__(self):
        super().__init__()
        self.memory = torch.nn.GRU(SIZE + 1, 64, batch_first=True)
        self.out = torch.nn.Linear(64, SIZE)

    def forward(self, x, sigma):
        scaled = x / (1 + sigma.square()).sqrt().unsqueeze(-1)
        seen, _ = self.memory(torch.cat((scaled, sigma.log().unsqueeze(-1) / 4), -1))
        return self.out(seen).tanh()


torch.manual_seed(0)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
schedule = inx.InfoNoise(0.02, 20.0, weight=inx.EDMWeight(1.0), seed=0)
for _ in range(400):
    x0, present = clips(BATCH)
    sigma = schedule.sample((BATCH, FRAMES))  # a level for each frame
    x = inx.channel.VE().corrupt(x0, torch.randn_like(x0), sigma)
    loss = inx.denoising_loss(net(x, sigma), x0, sigma, schedule, mask=present)  # padding counts nowhere
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

median = float(schedule.table().level(0.5))
print(f"{schedule.status}, loss {float(loss.detach()):.3f}, median sigma {median:.2f}")
