"""What `scripts/gpu_check.sh` will run on a GPU, as far as a machine without one can tell."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from support import ROOT
from support.builds import cuda_library

from benchmarks.gpu import __main__ as gpu_main
from benchmarks.gpu import rivals, summary
from benchmarks.gpu.cases import Sizes, Suite
from benchmarks.gpu.table import BEGIN, END, NOTHING, fill, newest, table
from benchmarks.gpu.targets import Results, targets
from infonoise_ext.ops.schemas import SCHEMAS

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
HIDDEN = ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The report of a rehearsal in which torch.compile does nothing."""
    path = tmp_path_factory.mktemp("rehearsal") / "gpu-rehearsal.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda function, **_: function)
        patch.setattr(sys, "argv", ["benchmarks.gpu", "--rehearse", str(path)])
        patch.setenv("TRITON_INTERPRET", "0")
        rivals.torch_step.cache_clear()
        assert gpu_main.main() == 0
    rivals.torch_step.cache_clear()
    return json.loads(path.read_text())


@pytest.mark.slow
def test_every_case_runs(rehearsed):
    rows = rehearsed["rows"]
    assert not [row for row in rows if "error" in row or "left_out" in row]
    assert SCHEMAS.keys() - {"denoising_error_backward"} <= {row["op"] for row in rows if row["backend"] == "cuda"}
    for backend in ("library", "eager", "compiled", "reduce-overhead", "host", "host_vectorised"):
        assert any(row["backend"] == backend for row in rows), backend
    for row in rows:
        assert 0 < row["q1"] <= row["median"] <= row["q3"]
        assert (row["gbps"] or 0) == pytest.approx(row["bytes"] / row["median"] / 1e3, abs=6e-4)
    assert not list((ROOT / "benchmarks" / "results").glob("*rehears*"))


def test_every_case_finds_its_limit(rehearsed):
    results = Results(rehearsed["rows"], rehearsed["sizes"])
    for row in results.rows:
        limit = results.limit_of(row)
        assert limit is not None, row
        assert row["share"] == pytest.approx(limit["median"] / row["median"])


def synthetic(times):
    """A report whose medians are given by op, backend, batch and refresh; everything else as a run has it."""
    sizes = vars(Sizes())
    rows = [
        {"op": op, "backend": backend, "batch": batch, "bins": 128 if op.endswith("_") else 0, "refresh": refresh,
         "bytes": size, "flops": 0, "limit": limit, "median": time, "q1": time - 0.25, "q3": time + 0.25, "gbps": 1.0,
         "tflops": None}
        for (op, backend, batch, refresh, size, limit), time in times.items()
    ]  # fmt: skip
    facts = {"gpu": "Synthetic GPU", "torch": "0.0", "driver": "0", "commit": "0000000"}
    return {"facts": facts, "date": "2000-01-01", "sizes": sizes, "rows": rows}


TIMES = {
    ("empty kernel", "triton", 0, False, 0, "empty kernel"): 2.0,
    ("copy", "torch", 0, False, 1000, "copy"): 30.0,
    ("fill", "torch", 0, False, 4000, "fill"): 50.0,
    ("torch.rand", "torch", 2**26, False, 4000, "fill"): 70.0,
    ("advance_", "cuda", 256, False, 10, "empty kernel"): 3.0,
    ("advance_", "cuda", 256, True, 10, "empty kernel"): 13.0,
    ("advance_", "eager", 256, False, 10, "empty kernel"): 90.0,
    ("advance_", "compiled", 256, False, 10, "empty kernel"): 9.0,
    ("advance_", "triton", 256, False, 10, "empty kernel"): 6.0,
    ("advance_", "cuda", 2**24, False, 1000, "copy"): 40.0,
    ("sample_", "cuda", 2**26, False, 4000, "fill"): 80.0,
}


def test_targets_judge_what_was_measured():
    report = synthetic(TIMES)
    judged = {t.name: t.judged(Results(report["rows"], report["sizes"])) for t in targets(report["sizes"])}
    wanted = {
        "advance_ of 256: time over an empty kernel's": (1.5, True),
        "advance_ of 256 with its refresh: time over an empty kernel's": (6.5, False),
        "advance_ of 4096: time over an empty kernel's": (None, None),
        "advance_ of 256: times faster than compiled": (3.0, False),
        "advance_ of 256: times faster than eager": (30.0, True),
        "advance_ of 256: Triton's time over CUDA C++'s": (2.0, False),
        f"advance_ of {2**24}: share of a copy's bandwidth": (0.75, True),
        "sample_: time over torch.rand's": (round(80 / 70, 3), False),
        "sample_: share of a fill's bandwidth": (0.625, False),
    }
    for name, (measured, met) in wanted.items():
        assert (judged[name]["measured"], judged[name]["met"]) == (measured, met), name


def test_the_table_fills_documents(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    fill(document, newest(tmp_path))
    assert document.read_text() == f"before\n{BEGIN}\n{NOTHING}\n{END}\nafter\n"
    (tmp_path / "gpu-old.json").write_text(json.dumps(synthetic({}) | {"date": "1999-01-01"}))
    (tmp_path / "gpu-new.json").write_text(json.dumps(synthetic(TIMES)))
    fill(document, newest(tmp_path))
    text = document.read_text()
    assert text == f"before\n{BEGIN}\n{table(synthetic(TIMES))}\n{END}\nafter\n"
    assert "Synthetic GPU" in text
    assert "| 256 | none | 3.0 (2.8-3.2) | 2.0x | 3.0x | 30.0x |" in text
    assert "| `sample_` | cuda | 67,108,864 | 128 | 0.0 | 80.0 (79.8-80.2) | 1 | 0.62 of fill |" in text
    document.write_text("no place\n")
    with pytest.raises(ValueError, match="gpu-table"):
        fill(document, None)


def test_the_page_holds_the_newest_result(tmp_path):
    """What stands there is what `--fill` would write."""
    page = ROOT / "docs" / "benchmarks.md"
    copy = tmp_path / page.name
    copy.write_text(page.read_text())
    fill(copy, newest(ROOT / "benchmarks" / "results"))
    assert copy.read_text() == page.read_text(), "python -m benchmarks.gpu --fill docs/benchmarks.md"


@pytest.mark.slow
def test_without_a_device_nothing_is_measured(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, env=HIDDEN, capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (3, "no CUDA device: nothing was measured")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_exercise_knows_every_op_and_finds_a_wrong_one():
    command = [sys.executable, "tests/gpu/exercise.py", "eager", "cpu"]
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"eager on cpu: {len(SCHEMAS)} ops, all right\n"), result.stderr
    spoil = (
        "import torch; from gpu import exercise; plain = exercise.ops.backend\n"
        "class Wrong:\n"
        "    def __getattr__(self, name):\n"
        "        run = getattr(plain('auto'), name)\n"
        "        return (lambda *a: run(*a) + 1e-3) if name == 'sample_' else run\n"
        "exercise.ops.backend = lambda name: Wrong() if name == 'wrong' else plain(name)\n"
        "exercise.SIZES = (700,); raise SystemExit(exercise.main('wrong', 'cpu'))"
    )
    result = subprocess.run([sys.executable, "-c", spoil], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert "wrong: sample_ of 700 in 1 groups differs" in result.stdout
    assert "advance_" not in result.stdout


@pytest.mark.slow
def test_the_tests_for_a_gpu_pass_a_rehearsal():
    """Those that say something on a CPU, where the CPU's ops stand for the GPU's."""
    fast = "not eager and not 70000"
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-p", "no:cacheprovider", "-k", fast]
    environment = ENVIRONMENT | {"INFONOISE_TEST_DEVICE": "cpu", "INFONOISE_REHEARSE": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def checkout(tmp_path):
    """What travels to the machine with the GPU, without a library; and the tools there: no cmake, no nvcc."""
    for name in ("scripts", "infonoise_ext", "csrc", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tools").mkdir()
    for tool in ("bash", "cat", "cp", "dirname", "grep", "mkdir", "rm", "tail", "tee", "timeout"):
        (tmp_path / "tools" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def check(checkout, *phase):
    tools = {"PATH": str(checkout / "tools"), "PYTHON": sys.executable, "CUDA_HOME": "/none"}
    command = ["scripts/gpu_check.sh", *phase]
    return subprocess.run(command, cwd=checkout, env=HIDDEN | tools, capture_output=True, text=True)


@pytest.mark.slow
def test_a_check_that_can_build_nothing_says_so(checkout):
    result = check(checkout, "build")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no C++ ops are built, eager torch serves: cmake does not run" in result.stderr
    assert "built here: Triton serves CUDA tensors" in result.stdout
    assert "no CUDA C++ here: Triton serves CUDA tensors, and nothing else is measured" in result.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first one waits for nvcc
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("way", ["beside the package", "in a wheel"])
def test_a_check_takes_the_library_that_came_along(way, checkout):
    if way == "in a wheel":
        (checkout / "dist").mkdir()
        with zipfile.ZipFile(checkout / "dist" / "infonoise_ext.whl", "w") as wheel:
            wheel.write(cuda_library(), "infonoise_ext/_C.abi3.so")
    else:
        shutil.copy(cuda_library(), checkout / "infonoise_ext")
    result = check(checkout, "build")
    assert result.returncode == 0, result.stdout + result.stderr
    how = {"in a wheel": "from dist/infonoise_ext.whl", "beside the package": "as it came"}[way]
    assert f"{how}: CUDA C++ serves CUDA tensors" in result.stdout
    assert "built here" not in result.stdout


@pytest.mark.slow
def test_a_check_without_a_device_ends_before_it_builds(checkout):
    result = check(checkout)
    assert result.returncode == 3, result.stdout + result.stderr
    assert result.stdout.endswith("no CUDA device: nothing was measured\n")
    assert not list((checkout / "infonoise_ext").glob("*.so"))


def test_the_summary_of_a_check(tmp_path, capsys):
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    (work / "phases.tsv").write_text("facts\tpassed\t3\ntests\tfailed (1)\t50\n")
    (work / "sanitizer.tsv").write_text("memcheck-auto\tERROR SUMMARY: 0 errors\n")
    (out / "tests.log").write_text("...\n1 failed, 9 passed\n\n")
    report = synthetic(TIMES) | {"targets": [], "findings": {"one_launch": None}}
    (out / "gpu-synthetic.json").write_text(json.dumps(report))
    summary.main(out, work)
    said = capsys.readouterr().out
    found = json.loads((out / "summary.json").read_text())
    assert found["phases"][1] == {"phase": "tests", "outcome": "failed (1)", "seconds": "50"}
    assert found["sanitizer"] == {"memcheck-auto": "ERROR SUMMARY: 0 errors"}
    for text in ("1 failed, 9 passed", "failed (1)  tests (50 s)", "memcheck-auto"):
        assert text in said


def test_a_gpu_gets_the_cases_of_every_backend(monkeypatch):
    """No tensor is made: what a machine with nvcc and Triton would measure."""
    monkeypatch.setattr("infonoise_ext.ops.registry.serving", lambda device: "CUDA C++")
    monkeypatch.setattr("benchmarks.gpu.cases.triton_is_installed", lambda: True)
    monkeypatch.setattr("infonoise_ext.ops.registry._triton", lambda: None)
    suite = Suite("cuda", Sizes())
    cases = suite.cases()
    for backend in ("cuda", "triton"):
        assert SCHEMAS.keys() - {"denoising_error_backward"} <= {c.op for c in cases if c.backend == backend}
    assert suite.ours == {"cuda": "auto", "triton": "triton"}
