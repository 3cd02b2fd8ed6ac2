"""What setup.py builds where something is missing, and that an sdist holds what a wheel needs."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from support import ROOT
from support.builds import assert_names_no_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TORCH = Path(torch.__file__).parent
BUILDS = ("setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "csrc", "infonoise_ext")
HEARD = "infonoise_ext: no C++ ops are built, eager torch serves: "


def program(folder, name, script):
    """An executable of a shell script, first on the PATH that is returned."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{path.parent}{os.pathsep}{os.environ['PATH']}"}


def build(folder, source=ROOT, **environment):
    """`setup.py build_ext` into a folder; its result and the library that it left, or None."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder), "--build-temp", str(folder)]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("INFONOISE_")}
    result = subprocess.run(command, cwd=source, env=plain | environment, capture_output=True, text=True)
    return result, next(folder.glob("infonoise_ext/_C*"), None)


def no_cmake(folder):
    (folder / "empty").mkdir()
    return {"PATH": str(folder / "empty")}


def compiler_of_old(folder):
    """One that compiles simple programs, but not torch's headers."""
    real = shutil.which("c++")
    program(folder, "c++-4", f'case "$*" in *torch*) echo "no such feature" >&2; exit 1;; esac\nexec {real} "$@"')
    return {"CXX": str(folder / "bin" / "c++-4")}


def no_torch(folder):
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'torch' else f(n, *a)"
    (folder / "sitecustomize.py").write_text(hide)
    return {"PYTHONPATH": str(folder)}


LACKING = {
    "no cmake": (no_cmake, "cmake does not run"),
    "no compiler": (lambda _: {"CXX": "nowhere"}, "nowhere"),
    "broken compiler": (lambda _: {"CXX": "/bin/false"}, "is not able to compile a simple test program"),
    "old compiler": (compiler_of_old, "does not compile torch's headers"),
    "no torch": (no_torch, "torch is not installed here"),
}


@pytest.mark.parametrize("lack", LACKING)
def test_what_is_lacking_is_said_in_one_sentence(lack, tmp_path):
    prepare, reason = LACKING[lack]
    environment = prepare(tmp_path)
    result, library = build(tmp_path, **environment)
    assert (result.returncode, library) == (0, None), result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(HEARD)
    assert reason in line
    for demand in ({"INFONOISE_BACKEND": "compiled"}, {"INFONOISE_CUDA": "1"}):
        result, library = build(tmp_path, **(environment | demand))
        assert (result.returncode, library) == (1, None), result.stderr
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        assert reason in line or (lack == "no cmake" and "nvcc is not on the PATH" in line)


def test_a_cmake_that_is_too_old_is_said_in_one_sentence(tmp_path):
    """CMakeLists.txt that asks for more stands for a CMake that is less."""
    for name in BUILDS:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    text, count = re.subn(r"VERSION 3\.\d+", "VERSION 99.1", (ROOT / "CMakeLists.txt").read_text(), count=1)
    assert count == 1
    (tmp_path / "CMakeLists.txt").write_text(text)
    result, library = build(tmp_path / "out", tmp_path)
    assert (result.returncode, library) == (0, None)
    assert result.stderr == f"{HEARD}CMake 99.1 or higher is required.\n"


def test_a_wrong_option_is_an_error(tmp_path):
    result, _ = build(tmp_path, INFONOISE_CUDA="yes")
    assert result.returncode == 1
    assert result.stderr == "error: INFONOISE_CUDA is 'yes', but must be 0, 1 or auto\n"


def test_nvcc_of_another_cuda_is_left_alone(tmp_path):
    """A torch that says it is of CUDA 12.6, beside an nvcc that says 13.0."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text("cuda = '12.6'\n")
    for name in ("include", "lib"):
        (tmp_path / "torch" / name).symlink_to(TORCH / name)
    environment = program(tmp_path, "nvcc", "echo Cuda compilation tools, release 13.0, V13.0.88")
    environment["PYTHONPATH"] = str(tmp_path)
    said = "nvcc is of CUDA 13.0, but torch of CUDA 12.6, and their major versions must be equal"
    result, library = build(tmp_path / "out", **environment)
    assert result.returncode == 0, result.stderr
    assert f"infonoise_ext: no CUDA ops are built, Triton serves GPUs: {said}\n" in result.stderr
    assert library is not None
    result, _ = build(tmp_path / "out", **environment, INFONOISE_CUDA="1")
    assert (result.returncode, result.stderr) == (1, f"error: INFONOISE_CUDA=1, but {said}\n")


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_the_architectures_are_those_that_nvcc_knows(tmp_path):
    configure = ["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DINFONOISE_CUDA=ON", f"-DINFONOISE_TORCH_DIR={TORCH}"]
    plain = {k: v for k, v in os.environ.items() if k != "CUDAARCHS"}
    subprocess.run(configure, check=True, capture_output=True, env=plain)
    commands = json.loads((tmp_path / "compile_commands.json").read_text())
    (cuda,) = {tuple(re.findall(r"code=\[(\w+)\]", c["command"])) for c in commands if c["file"].endswith(".cu")}
    known = subprocess.run(["nvcc", "--list-gpu-code"], check=True, capture_output=True, text=True).stdout.split()
    wanted = [f"sm_{a}" for a in (75, 80, 86, 89, 90, 100, 120) if f"sm_{a}" in known]
    assert list(cuda) == [*wanted, wanted[-1].replace("sm", "compute")]
    record = next(c["command"] for c in commands if c["file"].endswith("built_for.cpp"))
    assert f"{wanted[0][3:]}-real" in record
    assert f"{wanted[-1][3:]}-virtual" in record


def test_a_wheel_from_the_sdist_has_the_ops(tmp_path):
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    if not any(tracked):
        pytest.skip("needs a clone")
    for name in filter(None, tracked):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    make = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", make], cwd=source, check=True, capture_output=True)
    (sdist,) = (source / "dist").iterdir()
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    needed = {name for name in tracked if name.startswith(("csrc/", "infonoise_ext/")) and (ROOT / name).exists()}
    assert needed | {"CMakeLists.txt", "LICENSE", "setup.py"} <= packed
    assert not [name for name in packed if name.startswith("tests/") or name.endswith((".so", ".pyc"))]

    wheel = f"-m pip wheel -q --no-build-isolation --no-deps -w {tmp_path} {sdist}".split()
    demands = {"INFONOISE_BACKEND": "compiled", "INFONOISE_CUDA": "0"}
    result = subprocess.run(
        [sys.executable, *wheel], env=os.environ | demands, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    (found,) = tmp_path.glob("*.whl")
    assert "-cp310-abi3-" in found.name
    with zipfile.ZipFile(found) as archive:
        assert {name for name in needed if name.startswith("infonoise_ext/")} <= set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert_names_no_folder(tmp_path / "site" / "infonoise_ext" / "_C.abi3.so", tmp_path, tempfile.gettempdir())
    code = "import infonoise_ext as inx; print(inx.__file__, inx.InfoNoise(seed=1).sample(3).isfinite().all())"
    site = {"PYTHONPATH": str(tmp_path / "site"), "INFONOISE_BACKEND": "compiled"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=os.environ | site, cwd=tmp_path, capture_output=True, text=True)
    loaded = str(tmp_path / "site" / "infonoise_ext" / "__init__.py")
    assert result.stdout.split() == [loaded, "tensor(True)"], result.stderr
