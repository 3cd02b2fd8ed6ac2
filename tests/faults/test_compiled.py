"""Static addresses, moved and exchanged schedules, torch.export and AOTInductor."""

import copy

import pytest
import torch
from support import assert_same_bits

import infonoise_ext as inx
from infonoise_ext.state.tensors import MUTABLE

OPTIONS = {"warmup": 3, "refresh_every": 2, "min_count": 1}


def training(schedule, sigma):
    schedule.observe(sigma, sigma.square())
    schedule.step()
    return schedule.advance(schedule.sample(sigma.shape[0]), sigma)


@pytest.mark.slow
def test_cuda_graphs_would_see_static_addresses():
    """The inputs of the graph that Inductor is told never to copy are the nine tensors of the state."""
    from torch._inductor import compile_fx

    torch._dynamo.reset()
    static = []
    inner = compile_fx.compile_fx_inner

    def spy(graph, inputs, *rest, **options):
        static.append(
            (options.get("static_input_idxs"), [tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)])
        )
        return inner(graph, inputs, *rest, **options)

    schedule = inx.InfoNoise(seed=1, **OPTIONS)
    fast = torch.compile(
        lambda sigma: schedule.advance(sigma, sigma),
        backend=lambda graph, inputs: compile_fx.compile_fx(graph, inputs, inner_compile=spy),
        fullgraph=True,
    )
    with torch._inductor.config.patch(force_disable_caches=True):  # a cached graph is not compiled
        fast(schedule.sample(64))
    ((indices, shapes),) = static
    assert [shapes[i] for i in sorted(indices)] == [shape for shape in shapes if shape != (64,)]
    assert len(indices) == 11


def test_compiled_code_follows_a_schedule_that_is_moved_or_exchanged():
    torch._dynamo.reset()
    schedule, other = inx.InfoNoise(seed=1, **OPTIONS), inx.InfoNoise(seed=2, **OPTIONS)
    expected = [copy.deepcopy(schedule), copy.deepcopy(other)]
    fast = torch.compile(training, backend="aot_eager", fullgraph=True)
    sigma = schedule.sample(9)
    expected[0].sample(9)
    for i, turn in enumerate([0, 1, 0, 0, 1]):
        drawn = fast((schedule, other)[turn], sigma)
        assert torch.equal(drawn, training(expected[turn], sigma))
        if i == 2:
            schedule.to("cpu")
    assert_same_bits(schedule, expected[0])
    assert_same_bits(other, expected[1])


class Draw(torch.nn.Module):
    """What docs/robustness.md shows: the state as the buffers of the module that is exported."""

    def __init__(self, schedule):
        super().__init__()
        for name, tensor in schedule.state._asdict().items():
            self.register_buffer(name, tensor)
        self.schedule = copy.copy(schedule)
        self.schedule.state = self

    def __iter__(self):
        return self.buffers()

    def forward(self, sigma, error):
        return self.schedule.advance(sigma, error)


def exported(schedule, strict):
    batch = torch.export.Dim("B", min=2, max=4096)
    example = (torch.ones(8), torch.ones(8))
    return torch.export.export(Draw(schedule), example, dynamic_shapes=({0: batch}, {0: batch}), strict=strict)


def assert_same_run(run, twin):
    for size in (8, 8, 30, 5):
        sigma = torch.linspace(0.01, 3, size)
        assert torch.equal(run(sigma, sigma), twin.advance(sigma, sigma))


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_program_moves_its_state(strict):
    torch._dynamo.reset()
    schedule, twin = (inx.InfoNoise(seed=1, **OPTIONS) for _ in range(2))
    program = exported(schedule, strict)
    module = program.module()
    assert_same_run(module, twin)
    for name in MUTABLE:
        assert torch.equal(getattr(module, name), getattr(twin.state, name)), name
    assert set(program.run_decompositions().graph_signature.buffers_to_mutate.values()) == set(MUTABLE)


@pytest.mark.slow
def test_aot_inductor_packages_a_step_that_moves_its_state(tmp_path):
    torch._dynamo.reset()
    schedule, twin = (inx.InfoNoise(seed=1, **OPTIONS) for _ in range(2))
    path = torch._inductor.aoti_compile_and_package(exported(schedule, False), package_path=str(tmp_path / "step.pt2"))
    assert_same_run(torch._inductor.aoti_load_package(path), twin)
