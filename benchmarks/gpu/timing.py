"""Times of a call on the device, by CUDA events; on the CPU, for a rehearsal, by the host's clock.

Three ways to time: "graph", the replay of a CUDA graph of many calls, which shows what the device needs;
"calls", ordinary calls in a row, launches included; "host", calls that wait for the device themselves.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager

import torch

WARMUPS = 3
ROUNDS = (20, 50)
ROUND_SECONDS = 0.002
CASE_SECONDS = 0.25
MOST_CALLS = 200


def captured(function: Callable[[], object], calls: int, device: str) -> Callable[[], None]:
    """What replays `calls` calls in one launch. The function runs `WARMUPS` times before, none while captured.

    On the CPU there is nothing to capture: the calls themselves are returned.
    """
    if device == "cpu":
        _repeat(function, WARMUPS)
        return lambda: _repeat(function, calls)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        _repeat(function, WARMUPS)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _repeat(function, calls)
    return graph.replay


def _repeat(function: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        function()


class Clock:
    """Times functions on one device."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.least_rounds, self.most_rounds = ROUNDS if device == "cuda" else (3, 3)

    def measure(self, function: Callable[[], object], method: str) -> dict[str, object]:
        """Median and quartiles of a call in microseconds, and how they were found."""
        _repeat(function, WARMUPS)
        once = self.seconds(function, method)[0]
        calls = 1 if method == "host" else max(1, min(MOST_CALLS, round(ROUND_SECONDS / max(once, 1e-7))))
        if self.device == "cpu":
            calls = 2
        play = captured(function, calls, self.device) if method == "graph" else lambda: _repeat(function, calls)
        play()
        rounds = round(CASE_SECONDS / max(calls * once, 1e-6))
        rounds = max(self.least_rounds, min(self.most_rounds, rounds))
        times = [1e6 * t / calls for t in self.seconds(play, method, rounds)]
        low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
        found = {"median": round(middle, 3), "q1": round(low, 3), "q3": round(high, 3)}
        return found | {"rounds": rounds, "calls": calls, "method": method}

    def seconds(self, play: Callable[[], object], method: str, rounds: int = 1) -> list[float]:
        """Seconds of each of `rounds` plays."""
        if self.device == "cpu" or method == "host":
            return [self._on_the_host(play) for _ in range(rounds)]
        marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]
        for start, end in marks:
            start.record()
            play()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in marks]

    def _on_the_host(self, play: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        play()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()


@contextmanager
def profiled():
    """Yields two lists that afterwards hold, by name, what the GPU did in between and what the host called."""
    on_device: list[str] = []
    on_host: list[str] = []
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        yield on_device, on_host
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    for event in profile.events():
        (on_device if event.device_type == torch.autograd.DeviceType.CUDA else on_host).append(event.name)
