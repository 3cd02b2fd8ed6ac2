"""The library with CUDA ops, built without a GPU, must load with a torch that knows no CUDA."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import ROOT

from infonoise_ext.ops.schemas import SCHEMAS


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_one_library_serves_cpu_and_cuda_keys(tmp_path):
    build, output = ROOT / "build" / "cuda-test", tmp_path / "infonoise_ext"
    shutil.copytree(ROOT / "infonoise_ext", output, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    configure = [
        "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", "-DINFONOISE_CUDA=ON",
        f"-DINFONOISE_TORCH_DIR={Path(torch.__file__).parent}", f"-DINFONOISE_OUTPUT_DIR={build}",
    ]  # fmt: skip
    subprocess.run(configure, check=True, capture_output=True, env=os.environ | {"CUDAARCHS": "90"})
    subprocess.run(["cmake", "--build", str(build), "--target", "_C"], check=True, capture_output=True)
    shutil.copy(build / "_C.abi3.so", output)
    code = (
        "import torch, infonoise_ext as inx, infonoise_ext.ops.registry as ops\n"
        f"assert ops.missing_reason is None and inx.__file__.startswith({str(tmp_path)!r}), inx.__file__\n"
        "has = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        "print(*(name for name in ops.SCHEMAS if has('infonoise::' + name, 'CUDA')))\n"
        "print(ops.serving('cpu'), inx.InfoNoise(seed=1).sample(4).isfinite().all())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    names, rest = result.stdout.strip().splitlines()
    assert names.split() == list(SCHEMAS)
    assert rest == "C++ tensor(True)"
