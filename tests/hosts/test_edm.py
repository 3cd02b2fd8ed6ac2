"""EDM's and EDM2's losses against their formulas, in their trainers' loop."""

import pickle

import pytest
import torch
from support import generator

import infonoise_ext as inx
from infonoise_ext.integrations.edm import EDM2Loss, EDMLoss


class Net:
    """D = a x + b in double precision, and u = log sigma; keeps what it was called with."""

    def __init__(self):
        self.a = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def __call__(self, x, sigma, labels=None, augment_labels=None, return_logvar=False):
        self.x, self.sigma, self.labels, self.augment_labels = x, sigma, labels, augment_labels
        denoised = self.a * x.double() + 0.1
        return (denoised, sigma.log()) if return_logvar else denoised


def inputs(n=32):
    return torch.randn(n, 3, 4, 4, generator=generator(8)), torch.eye(10)[:n]


@pytest.mark.parametrize("loss_class", [EDMLoss, EDM2Loss])
def test_loss_is_the_weighted_error_and_the_record_is_the_raw_one(loss_class):
    images, labels = inputs()
    recorded = []
    schedule = inx.LogNormal(-0.4, 1.0, weight=inx.EDMWeight(0.5))
    schedule.observe = lambda sigma, error: recorded.append((sigma, error))
    net = Net()
    loss = loss_class(schedule)(net=net, images=images, labels=labels)
    assert loss.shape == images.shape
    sigma = net.sigma
    assert sigma.shape == (32, 1, 1, 1)
    assert torch.equal(net.labels, labels)
    squared = (0.3 * net.x.double() + 0.1 - images).square()
    weighted = (sigma**2 + 0.25) / (sigma * 0.5) ** 2 * squared
    error_term, u = (weighted, 0 * sigma) if loss_class is EDMLoss else (weighted / sigma, sigma.log())
    assert ((loss - (error_term + u)).abs() <= 1e-5 * (error_term + u.abs())).all()  # the two may cancel
    ((seen, error),) = recorded
    assert torch.equal(seen, sigma.flatten())
    torch.testing.assert_close(error.double(), squared.mean((1, 2, 3)).detach(), rtol=1e-5, atol=0)
    assert not error.requires_grad
    loss.sum().mul(1 / 32).backward()
    assert net.a.grad.abs() > 0


@pytest.mark.parametrize("loss_class", [EDMLoss, EDM2Loss])
def test_noise_has_the_drawn_level(loss_class):
    """The variance of (x - images) / sigma over 512 x 3072 normals is 1 within 6 standard errors."""
    images = torch.zeros(512, 3, 32, 32)
    net = Net()
    loss_class(inx.LogNormal(-0.4, 1.0, weight=inx.EDMWeight(0.5)))(net=net, images=images)
    unit = net.x / net.sigma
    assert abs(float(unit.var()) - 1) < 6 * (2 / unit.numel()) ** 0.5


def test_augmentation_is_the_trainers():
    images, _ = inputs()
    net = Net()
    loss = EDMLoss()(net=net, images=images, labels=None, augment_pipe=lambda x: (x + 5, "labels of it"))
    assert net.augment_labels == "labels of it"
    assert abs(float((net.x / (1 + net.sigma)).mean())) > 1
    assert loss.shape == images.shape
    EDMLoss()(net=net, images=images)
    assert net.augment_labels is None


def test_trainer_builds_it_from_its_name_alone_and_the_schedule_learns():
    loss_fn = EDMLoss(sigma_data=0.7)
    assert loss_fn.schedule.weight == inx.EDMWeight(0.7)
    images = 0.7 * torch.randn(256, 1, 4, 4)
    for _ in range(120):
        loss_fn(net=lambda x, s, labels, augment_labels: 0.49 / (s**2 + 0.49) * x, images=images)
        loss_fn.schedule.step()
    summary = loss_fn.schedule.summary()
    assert loss_fn.schedule.status == "active"
    assert summary["recorded"] == 120 * 256 - sum(v for k, v in summary.items() if k.startswith("skipped"))
    profile = loss_fn.schedule.profile()
    known = profile.count >= 100
    exact = 0.49 * profile.sigma**2 / (0.49 + profile.sigma**2)
    assert (profile.mmse[known] / exact[known] - 1).abs().max() < 0.25


def test_pickle_and_state_dict_carry_the_schedule():
    images, _ = inputs()
    loss_fn = EDM2Loss(inx.InfoNoise(weight=inx.EDMWeight(0.5), seed=11))
    for _ in range(3):
        loss_fn(net=Net(), images=images)
    copy = pickle.loads(pickle.dumps(loss_fn))
    resumed = EDM2Loss(inx.InfoNoise(weight=inx.EDMWeight(0.5), seed=12))
    resumed.load_state_dict(loss_fn.state_dict())
    ahead = loss_fn.schedule.sample(50)
    assert torch.equal(copy.schedule.sample(50), ahead)
    assert torch.equal(resumed.schedule.sample(50), ahead)


def test_schedule_follows_the_images():
    class Elsewhere(inx.LogNormal):
        moved = None

        def to(self, device):
            self.moved = device
            return super().to("cpu")

    schedule = Elsewhere(-1.2, 1.2, weight=inx.EDMWeight(0.5))
    EDMLoss(schedule)(net=Net(), images=inputs()[0])
    assert schedule.moved == torch.device("cpu")


@pytest.mark.parametrize("loss_class", [EDMLoss, EDM2Loss])
def test_schedule_of_another_weight_is_refused(loss_class):
    with pytest.raises(ValueError, match=r"schedule\.weight is .*, but must be an EDMWeight"):
        loss_class(inx.InfoNoise())


@pytest.mark.parametrize(("loss_class", "own"), [(EDMLoss, (-1.2, 1.2)), (EDM2Loss, (-0.4, 1.0))])
def test_trainers_name_their_density_and_options(loss_class, own):
    """By keyword, as `dnnlib.util.construct_class_by_name(**loss_kwargs)` calls them; the defaults are the classes'."""
    prior = loss_class().schedule.prior
    assert (prior.mean, prior.std) == own
    loss_fn = loss_class(P_mean=-0.8, P_std=1.6, sigma_data=0.7, bins=32, warmup=50)
    assert (loss_fn.schedule.prior.mean, loss_fn.schedule.prior.std) == (-0.8, 1.6)
    assert (loss_fn.schedule.config.bins, loss_fn.schedule.config.warmup) == (32, 50)
    assert loss_fn.schedule.weight == inx.EDMWeight(0.7)
    for beside in ({"P_mean": 0.0}, {"bins": 32}):
        with pytest.raises(ValueError, match=r"schedule is .*, but must be None beside options"):
            loss_class(loss_fn.schedule, **beside)


def test_ranks_of_the_trainer_share_one_table_unless_told_otherwise():
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    torch.distributed.init_process_group("fake", rank=1, world_size=2, store=fake.FakeStore())
    try:
        shared, own = EDMLoss(), EDM2Loss(rank=1, world=2)
        snapshot = pickle.loads(pickle.dumps(shared))
    finally:
        torch.distributed.destroy_process_group()
    assert shared.schedule.process_group is not None
    assert (shared.schedule.rank, shared.schedule.world) == (own.schedule.rank, own.schedule.world) == (1, 2)
    assert own.schedule.process_group is None
    assert snapshot.schedule.process_group is None  # the trainer pickles the object into every snapshot
    assert EDMLoss().schedule.process_group is None


def test_learned_uncertainty_can_be_a_part_of_the_weight():
    """EDM2's u(sigma) from its network, through `refresh_weight`: the density is divided by w / e^u."""
    uncertainty = torch.nn.Linear(1, 1)

    def weight(sigma):
        return inx.EDMWeight(0.5)(sigma) / uncertainty(sigma.log().view(-1, 1)).view(sigma.shape).exp()

    schedule = inx.InfoNoise(weight=weight)
    with torch.no_grad():
        uncertainty.weight.fill_(0.4)
        uncertainty.bias.fill_(0.1)
    schedule.refresh_weight()
    sigma = schedule.state.row("sigma")
    torch.testing.assert_close(
        schedule.state.row("weight"), inx.EDMWeight(0.5)(sigma) / (0.4 * sigma.log() + 0.1).exp(), rtol=1e-5, atol=0
    )
