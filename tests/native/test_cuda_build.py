"""The library with CUDA ops, built without a GPU, must load with a torch that knows no CUDA."""

import shutil

import pytest
from support.builds import assert_names_no_folder, copy_package, cuda_library, run_copy

from infonoise_ext.ops.schemas import SCHEMAS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first one waits for nvcc
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc"),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with a copy of the package whose library has CUDA ops for sm_90."""
    folder = tmp_path_factory.mktemp("cuda")
    shutil.copy(cuda_library(), copy_package(folder))
    return folder


def test_one_library_serves_cpu_and_cuda_keys(package):
    code = (
        "import torch, infonoise_ext as inx, infonoise_ext.ops.registry as ops\n"
        f"assert ops.missing_reason is None and inx.__file__.startswith({str(package)!r}), inx.__file__\n"
        "has = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        "print(*(name for name in ops.SCHEMAS if has('infonoise::' + name, 'CUDA')))\n"
        "print(*ops.library.built_for()[1:], ops.serving('cuda'))\n"
        "print(ops.serving('cpu'), inx.InfoNoise(seed=1).sample(4).isfinite().all())"
    )
    result = run_copy(package, code)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    names, cuda, cpu = result.stdout.strip().splitlines()
    assert names.split() == list(SCHEMAS)
    assert cuda == "90-real CUDA C++"
    assert cpu == "C++ tensor(True)"


def test_the_library_names_no_folder(package):
    assert_names_no_folder(package / "infonoise_ext" / "_C.abi3.so")


# What torch runs when it starts CUDA, on a machine that says it has such a GPU; CUDA tensors themselves there are none.
START = (
    "import torch, infonoise_ext.ops.registry as ops\n"
    "torch.version.cuda, torch.cuda.device_count = ops.library.built_for()[0], lambda: 1\n"
    "torch.cuda.get_device_capability = lambda i: {capability}\n"
    "torch.cuda.get_device_name = lambda i: 'some GPU'\n"
    "waiting = [call for call, _ in torch.cuda._queued_calls if call.__module__.startswith('infonoise_ext')]\n"
    "for call in waiting: call()\n"
    "print(len(waiting), ops.serving('cuda'), ops.serving('cpu'), sep=', ')\n"
)
# What the key CUDA leads to, asked with tensors of the CPU.
CALL = (
    "key = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)\n"
    "arguments = torch.rand(1, 4, 2), torch.tensor([[0, 1, 2, 7]])\n"
    "found = torch.ops.infonoise.bin_stats.default.redispatch(key, *arguments)\n"
    "print(torch.equal(found, torch.ops.infonoise.bin_stats(*arguments)))"
)


def test_a_gpu_that_has_an_image_is_served_by_it(package):
    result = run_copy(package, START.format(capability=(9, 0)) + CALL)
    assert result.stdout == "1, CUDA C++, C++\n"
    assert "the schedule's state is on the CPU" in result.stderr  # so says the CUDA C++ op


def test_a_gpu_that_has_no_image_is_served_by_triton(package):
    result = run_copy(package, START.format(capability=(10, 0)) + CALL, TRITON_INTERPRET="1")
    assert result.stdout == "1, Triton, C++\nTrue\n", result.stderr
    assert result.stderr.count("Warning") == 1
    said = "Triton serves CUDA tensors; the compiled ops have no image for some GPU (sm_100), but for 90-real"
    assert said in result.stderr


def test_compiled_leaves_such_a_gpu_without_ops(package):
    result = run_copy(package, START.format(capability=(10, 0)) + CALL, INFONOISE_BACKEND="compiled")
    assert result.stdout == "1, nothing, C++\n"
    assert "compiled allows nothing else, but the compiled ops have no image for some GPU" in result.stderr
