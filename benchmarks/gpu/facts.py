"""What a result must say of the machine and the versions it was measured with."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess

import torch

from infonoise_ext.ops import registry as ops

QUERIES = {
    "driver": "driver_version",
    "clock_sm": "clocks.sm",
    "clock_memory": "clocks.mem",
    "clock_sm_most": "clocks.max.sm",
    "power_limit": "power.limit",
}


def output_of(*command):
    """What a command prints, or "" if it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def facts():
    """Machine, driver, versions, commit, and what serves CUDA tensors."""
    return {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **_card(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": _version("triton"),
        "nvcc": _nvcc(),
        "serves_cuda": ops.serving("cuda"),
        "commit": os.environ.get("COMMIT") or output_of("git", "rev-parse", "--short", "HEAD") or "unknown",
    }


def _card():
    values = output_of("nvidia-smi", f"--query-gpu={','.join(QUERIES.values())}", "--format=csv,noheader", "--id=0")
    found = [x.strip() for x in values.split(",")] if values else []
    card = dict(zip(QUERIES, found, strict=True)) if len(found) == len(QUERIES) else dict.fromkeys(QUERIES)
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        card |= {
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
        }
    return card


def _nvcc():
    release = re.search(r"release ([\d.]+)", output_of(shutil.which("nvcc") or "nvcc", "--version"))
    return release and release[1]


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def name_of(gpu):
    """A GPU's name as part of a file's: "NVIDIA H200" is "h200"."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower().replace("nvidia", "")).strip("-")


if __name__ == "__main__":
    for name, value in facts().items():
        print(f"{name:<16} {value}")
