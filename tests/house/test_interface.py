"""What `import infonoise_ext as inx` offers, at what cost, and what a type checker makes of it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import infonoise_ext as inx
from infonoise_ext.state.config import InfoNoiseConfig, Options

MODULES = ["channel", "grids", "integrations", "interpolant", "oracle", "plot"]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_dir_shows_the_interface_alone():
    assert dir(inx) == sorted([*inx.__all__, *MODULES])
    assert len(inx.__all__) <= 22
    for name in dir(inx):
        assert getattr(inx, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'infonoise'"):
        inx.infonoise  # noqa: B018


def test_modules_come_with_first_use():
    out = run(
        "import sys, infonoise_ext as inx\n"
        "late = ['grids', 'interpolant', 'oracle', 'integrations', 'watch.plot', 'watch.report', 'demo']\n"
        "print(*(f'infonoise_ext.{m}' in sys.modules for m in late))\n"
        f"print(*(getattr(inx, m).__name__ for m in {MODULES!r}))"
    )
    assert out[:7] == ["False"] * 7
    assert out[7:] == [f"infonoise_ext.{m}" for m in MODULES[:-1]] + ["infonoise_ext.watch.plot"]


def test_integrations_come_with_first_use_and_without_their_libraries():
    code = (
        "import sys, infonoise_ext as inx\n"
        "dir(inx.integrations); print(any(m.startswith('infonoise_ext.integrations.') for m in sys.modules))\n"
        "print(inx.integrations.k_diffusion.density.__name__, inx.integrations.torchcfm.time_of.__name__)\n"
        "hosts = {'accelerate', 'diffusers', 'flow_matching', 'k_diffusion', 'lightning', 'torchcfm', 'wandb'}\n"
        "print(len(hosts & set(sys.modules)))"
    )
    assert run(code) == ["False", "density", "time_of", "0"]
    files = {path.stem for path in (Path(inx.__file__).parent / "integrations").glob("[a-z]*.py")}
    assert set(dir(inx.integrations)) == set(inx.integrations.__all__) == files
    with pytest.raises(AttributeError, match="no attribute 'host'"):
        inx.integrations.host  # noqa: B018


def test_nothing_compiles_until_something_compiles():
    """Importing torch._dynamo takes seconds. Torch may import triton with it, so later only our own module tells."""
    code = (
        "import sys, infonoise_ext as inx; print('triton' in sys.modules)\n"
        "s = inx.InfoNoise(); x = s.sample(8); s.observe(x, x); s.step(); s.advance(x, x); s.profile(); s.summary()\n"
        "print(*(module in sys.modules for module in ('torch._dynamo', 'infonoise_ext.ops.triton_ops')))"
    )
    assert run(code) == ["False"] * 3


def test_state_is_marked_as_dynamo_marks_it():
    ours, theirs = inx.InfoNoise().state, torch.zeros(3)
    torch._dynamo.mark_static_address(theirs, guard=False)
    for tensor in ours:
        assert tensor._dynamo_static_input_type == theirs._dynamo_static_input_type


def test_typed_options_are_those_of_the_config():
    """`sigma_min` and `sigma_max` stand in the constructor itself."""
    config = {f.name: f.type for f in dataclasses.fields(InfoNoiseConfig)}
    ends = {"sigma_min", "sigma_max"}
    assert set(Options.__annotations__) == set(config) - ends
    assert Options.__total__ is False


GOOD = """
import torch
import infonoise_ext as inx
from infonoise_ext.curves.density import Schedule

a = inx.InfoNoise(0.002, 80.0, weight=inx.EDMWeight(0.5), pivot=inx.Onset(), signal="length", bins=32, seed=1)
b = inx.InfoNoise(pivot=0, prior=inx.LogitNormal(0.0, 1.0), bound=inx.BinaryBound.one_hot(4), groups=3)
started = [inx.InfoNoise(prior=prior) for prior in (a, a.table(), "run.pt")]
c = inx.InfoNoise(config=inx.InfoNoiseConfig(bins=8), device="cpu", history=inx.History())
schedules: list[Schedule] = [a, inx.LogNormal(-1.2, 1.2), inx.LogUniform(0.002, 80.0), a.table()]
sigma: torch.Tensor = a.advance(a.sample(8), torch.ones(8), mask=None)
inx.SigmaTable.from_flow(first="noise").sample(a, 5)
"""
BAD = {
    'inx.InfoNoise(signl="length")': "signl",
    'inx.InfoNoise(capacity="many")': "capacity",
    'inx.InfoNoise(0.002, 80.0, pivot="onset")': "pivot",
    "inx.InfoNoise(weight=3.0)": "weight",
    "inx.InfoNoise(prior=3.0)": "prior",
    "inx.LogNormal(0.0, 1.0).sample('a')": "str",
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_type_checker_takes_what_is_documented_and_refuses_the_rest(tmp_path):
    pytest.importorskip("mypy")
    lines = GOOD.splitlines()
    start = len(lines) + 1
    (tmp_path / "use.py").write_text("\n".join([*lines, *BAD, ""]))
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary", "use.py"]
    environment = os.environ | {"MYPYPATH": str(Path(inx.__file__).parent.parent)}
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment).stdout
    errors = [line for line in out.splitlines() if ": error:" in line]
    for number, word in enumerate(BAD.values(), start):
        mine = [e for e in errors if e.startswith(f"use.py:{number}:")]
        assert mine, f"line {number} was accepted: {out}"
        assert any(word in e for e in mine), (word, mine)
    assert all(int(e.split(":")[1]) >= start for e in errors), out


def test_numbers_of_any_kind_are_taken():
    config = InfoNoiseConfig(
        sigma_min=np.float32(0.5), bins=np.int64(8), warmup=torch.tensor(7), reach=torch.tensor(0.5), capacity=16.0
    )
    assert (config.sigma_min, config.bins, config.warmup, config.reach, config.capacity) == (0.5, 8, 7, 0.5, 16)
    assert [type(x) for x in (config.sigma_min, config.bins, config.warmup, config.reach)] == [float, int, int, float]
    assert InfoNoiseConfig(pivot=np.float64(0.25)).pivot == 0.25


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("sigma_min", "0.1", "a finite number of at least 1e-30"),
        ("sigma_max", float("inf"), "a finite number of at most 1e\\+30"),
        ("sigma_max", 0.002, "above sigma_min = 0.002"),
        ("bins", 1, "an integer in \\[2, 4096\\]"),
        ("bins", 8.5, "an integer in"),
        ("bins", True, "an integer in"),
        ("capacity", "many", "an integer in \\[1, 2147483647\\]"),
        ("warmup", 0, "an integer in"),
        ("min_count", 16385, "an integer in \\[1, 16384\\]"),
        ("reach", -1, "a finite number in \\[0, 100\\]"),
        ("floor", 1.0, "a finite number in \\[0, 1\\)"),
        ("reach", torch.ones(2), "a finite number in"),
        ("signal", "energy", "one of 'learnable', 'entropy', 'rescaled', 'mmse', 'length'"),
        ("sampling", None, "one of 'iid', 'stratified'"),
        ("pivot", "onset", "Onset\\(\\), PowerLaw\\(\\), or a finite number of at least 0"),
        ("pivot", -0.5, "Onset\\(\\)"),
    ],
)
def test_wrong_options_are_refused_by_name(option, value, allowed):
    with pytest.raises(ValueError, match=f"^{option} is .*, but must be {allowed}"):
        inx.InfoNoise(**{option: value})


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(TypeError, match="no option 'signl'; options are sigma_min"):
        inx.InfoNoise(signl="length")
