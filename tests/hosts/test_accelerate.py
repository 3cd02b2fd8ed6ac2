"""A schedule under a real Accelerator."""

from types import SimpleNamespace

import pytest
import torch

import infonoise_ext as inx
from infonoise_ext.state.tensors import MUTABLE

accelerate = pytest.importorskip("accelerate")
from infonoise_ext.integrations.accelerate import attach  # noqa: E402


@pytest.fixture
def accelerator():
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)


def prepared(accelerator):
    net = torch.nn.Linear(2, 2)
    data = torch.utils.data.DataLoader(torch.randn(96, 2), batch_size=8)
    return accelerator.prepare(net, torch.optim.SGD(net.parameters(), 1e-3), data)


def train(accelerator, schedule, net, optimizer, loader):
    for x in loader:
        with accelerator.accumulate(net):
            sigma = schedule.sample(len(x))
            error = (net(x + sigma[:, None] * torch.randn_like(x)) - x).square().mean(1)
            schedule.observe(sigma, error)
            accelerator.backward(error.mean())
            optimizer.step()
            optimizer.zero_grad()
            if accelerator.sync_gradients:
                schedule.step()


def test_steps_follow_optimizer_steps_and_the_state_comes_back(accelerator, tmp_path):
    schedule = inx.InfoNoise(seed=1, warmup=2)
    assert attach(accelerator, schedule) is schedule
    loop = prepared(accelerator)
    train(accelerator, schedule, *loop)
    assert schedule.summary()["steps"] == 4
    assert schedule.summary()["recorded"] == 96
    accelerator.save_state(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").glob("custom*")] == ["custom_checkpoint_0.pkl"]
    saved = {name: getattr(schedule.state, name).clone() for name in MUTABLE}
    ahead = schedule.sample(5)
    train(accelerator, schedule, *loop)
    assert schedule.summary()["steps"] == 8
    places = {name: getattr(schedule.state, name).data_ptr() for name in MUTABLE}
    accelerator.load_state(tmp_path / "run")
    for name in MUTABLE:
        assert torch.equal(getattr(schedule.state, name), saved[name]), name
        assert getattr(schedule.state, name).data_ptr() == places[name], name  # in place: compiled code sees it
    assert torch.equal(schedule.sample(5), ahead)


def test_summary_is_what_a_tracker_takes(accelerator):
    values = attach(accelerator, inx.InfoNoise(seed=1)).summary()
    assert all(type(value) is float for value in values.values())


def test_schedule_of_another_number_of_processes_is_refused(accelerator):
    several = SimpleNamespace(num_processes=4, device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"schedule\.world is 1, but must be 4, the accelerator's"):
        attach(several, inx.InfoNoise())


@pytest.mark.filterwarnings("ignore:4 processes train")
def test_schedule_made_before_the_processes_takes_its_rank():
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    schedule, registered = inx.InfoNoise(seed=1), []
    torch.distributed.init_process_group("fake", rank=2, world_size=4, store=fake.FakeStore())
    try:
        attach(SimpleNamespace(num_processes=4, device="cpu", register_for_checkpointing=registered.append), schedule)
    finally:
        torch.distributed.destroy_process_group()
    assert registered == [schedule]
    assert torch.equal(schedule.sample(9), inx.InfoNoise(seed=1, rank=2, world=4).sample(9))
