"""`empirical_bayes` against the whole B x N matrix and against torch's fused attention: time and memory.

`python -m benchmarks.empirical_bayes` prints the table of docs/research/empirical-bayes.md.
"""

import ctypes
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from infonoise_ext import empirical_bayes

SIZES = ((2, 1024, 20000), (32, 1024, 20000), (768, 512, 8000), (3072, 256, 4000))
"""D, B, N."""
ROUNDS = 5


def whole_matrix(y, sigma, data):
    """Direct transcription: B x N distances, softmax, two products."""
    weight = torch.softmax(-torch.cdist(y, data).square() / (2 * sigma.unsqueeze(1) ** 2), 1)
    mean = weight @ data
    return mean, weight @ data.square().sum(1) - mean.square().sum(1)


def attention(y, sigma, data):
    """Flash attention: queries (y, -1) / sigma^2, keys and values (x, |x|^2 / 2)."""
    centre = data.mean(0)
    data, y = data - centre, y - centre
    key = torch.cat((data, data.square().sum(1, keepdim=True) / 2), 1)[None, None]
    query = torch.cat((y, -torch.ones(len(y), 1)), 1)[None, None] / sigma.unsqueeze(1) ** 2
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        out = torch.nn.functional.scaled_dot_product_attention(query, key, key, scale=1.0)[0, 0]
    mean = out[:, :-1]
    return mean + centre, 2 * out[:, -1] - mean.square().sum(1)


IMPLEMENTATIONS = {"streamed": empirical_bayes, "attention": attention, "whole_matrix": whole_matrix}


def arguments(dim, batch, points):
    generator = torch.Generator().manual_seed(0)
    data = 0.5 * torch.randn(points, dim, generator=generator)
    sigma = torch.logspace(-2, 2, batch)
    return data[:batch] + sigma.unsqueeze(1) * torch.randn(batch, dim, generator=generator), sigma, data


def resident(field):
    """Resident memory of this process in MB; VmHWM is its peak since `forget_peak`. Linux only."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024


def forget_peak():
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measured(implementation, size):
    """CPU milliseconds of each round, sorted, and the memory in MB that a call adds at its peak."""
    torch.set_num_threads(1)
    case, function = arguments(*size), IMPLEMENTATIONS[implementation]
    function(*arguments(size[0], 2, 64))
    forget_peak()
    before, times = resident("VmRSS"), []
    for _ in range(ROUNDS):
        start = time.process_time()
        function(*case)
        times.append((time.process_time() - start) * 1e3)
    return sorted(times), resident("VmHWM") - before


def main():
    if len(sys.argv) == 3:
        times, memory = measured(sys.argv[1], SIZES[int(sys.argv[2])])
        print(f"{times[ROUNDS // 2]:.0f} ({times[ROUNDS // 4]:.0f}-{times[-1 - ROUNDS // 4]:.0f}) ms, {memory:.0f} MB")
        return
    print("| D | B | N | " + " | ".join(IMPLEMENTATIONS) + " |\n|" + "---|" * (3 + len(IMPLEMENTATIONS)))
    for index, size in enumerate(SIZES):
        commands = [[sys.executable, "-m", __spec__.name, name, str(index)] for name in IMPLEMENTATIONS]
        cells = [subprocess.check_output(command, text=True).strip() for command in commands]
        print("| " + " | ".join([*map(str, size), *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
