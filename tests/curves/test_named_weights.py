"""Weights by name: w times the clean error is the loss that a trainer computes from prediction, target and scheme."""

import copy
import math
import os
import pickle

import pytest
import torch
from support import generator

import infonoise_ext as inx
from infonoise_ext.curves.weights import LossWeight, evaluate

os.environ.setdefault("HF_HUB_OFFLINE", "1")
SIGMA = torch.tensor([0.03, 0.2, 0.7, 1.0, 2.5, 14.0], dtype=torch.float64)
PLAIN = ("x0", "eps", "v", "velocity")


def losses(prediction, sigma=SIGMA):
    """Mean squared error of a prediction on its own path, and of the clean sample that the prediction means."""
    images, wrong, noise = torch.randn(3, len(sigma), 64, generator=generator(3), dtype=torch.float64)
    s = sigma[:, None]
    if prediction == "velocity":
        t = s / (1 + s)
        x = (1 - t) * images + t * noise
        target, predicted = noise - images, (x - wrong) / t
    else:
        a, b = 1 / (1 + s**2).sqrt(), s / (1 + s**2).sqrt()
        x = a * images + b * noise
        eps = (x - a * wrong) / b
        target = {"x0": images, "eps": noise, "v": a * noise - b * images}[prediction]
        predicted = {"x0": wrong, "eps": eps, "v": a * eps - b * wrong}[prediction]
    return (predicted - target).square().mean(1), (wrong - images).square().mean(1)


def assert_is_the_loss(weight, factor, prediction, sigma=SIGMA, rtol=1e-9):
    loss, clean = losses(prediction, sigma)
    torch.testing.assert_close(weight(sigma) * clean, factor.double() * loss, rtol=rtol, atol=0)


@pytest.mark.parametrize("prediction", PLAIN)
def test_plain_loss(prediction):
    assert_is_the_loss(LossWeight(prediction), torch.ones(6), prediction)


@pytest.mark.parametrize("prediction", PLAIN)
def test_name_of_a_prediction_is_its_plain_loss(prediction):
    assert inx.InfoNoise(weight=prediction).weight == LossWeight(prediction)
    assert inx.LogNormal(0.0, 1.0, weight=prediction).weight == LossWeight(prediction)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_min_snr_is_that_of_the_diffusers_scripts(prediction, gamma):
    """min(snr, gamma) / snr of `compute_snr`, with snr + 1 below where v is predicted."""
    utils = pytest.importorskip("diffusers.training_utils")
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    timesteps = torch.tensor([0, 50, 200, 400, 700, 999])
    snr = utils.compute_snr(scheduler, timesteps)
    least = torch.stack([snr, gamma * torch.ones(6)], 1).min(1)[0]
    below = {"eps": snr, "v": snr + 1, "x0": torch.ones(6)}[prediction]
    assert_is_the_loss(LossWeight(prediction, "min_snr", gamma), least / below, prediction, snr.double() ** -0.5, 1e-6)


@pytest.mark.parametrize("prediction", ["x0", "velocity"])
@pytest.mark.parametrize("scheme", ["sigma_sqrt", "cosmap", "none"])
def test_sd3_weights_are_those_of_diffusers(scheme, prediction):
    """On the velocity, or on the clean image that --precondition_outputs makes of it; its sigma is the flow time."""
    utils = pytest.importorskip("diffusers.training_utils")
    factor = utils.compute_loss_weighting_for_sd3(scheme, sigmas=SIGMA / (1 + SIGMA))
    assert_is_the_loss(LossWeight(prediction, scheme), factor, prediction, rtol=1e-6)


@pytest.mark.parametrize(
    ("weight", "at_zero", "at_infinity"),
    [
        (LossWeight("eps"), math.inf, 0), (LossWeight("velocity"), math.inf, 1), (LossWeight("v"), math.inf, 1),
        (LossWeight("eps", "min_snr"), 5, 0), (LossWeight("eps", "debiased"), math.inf, 0),
        (LossWeight("v", "debiased"), math.inf, 1), (LossWeight("eps", "p2"), 1, 0),
        (LossWeight("eps", "p2", 2.0), 0, 0), (LossWeight("eps", "p2", 0.5), math.inf, 0),
        (LossWeight("velocity", "sigma_sqrt"), math.inf, 1), (LossWeight("x0", "cosmap"), 2 / math.pi, 2 / math.pi),
    ],
    ids=str,
)  # fmt: skip
def test_pure_data_and_pure_noise_are_limits(weight, at_zero, at_infinity):
    ends = weight(torch.tensor([0.0, 1e-25, 1e25, math.inf]))
    assert ends.tolist() == pytest.approx([at_zero, at_zero, at_infinity, at_infinity], abs=1e-5)


def test_debiased_and_p2_are_the_formulas():
    snr = SIGMA**-2
    cut = snr.clamp(max=1000)  # 0.03 is below it
    assert (cut < snr).any()
    assert_is_the_loss(LossWeight("eps", "debiased"), cut**-0.5, "eps")
    assert_is_the_loss(LossWeight("v", "debiased"), 1 / (cut + 1), "v")
    assert_is_the_loss(LossWeight("eps", "p2"), 1 / (1 + snr), "eps")
    assert_is_the_loss(LossWeight("eps", "p2", 0.5), (1 + snr) ** -0.5, "eps")


def test_k_diffusion_and_edm_have_their_own():
    """The loss of EDM's raw network F at sigma_data: 1 / c_out^2."""
    s, data = SIGMA, 0.5
    torch.testing.assert_close(inx.EDMWeight(data)(s), (s**2 + data**2) / (s * data) ** 2)
    torch.testing.assert_close(inx.clean_error(torch.ones(6).double(), s, "edm_f", data), 1 / inx.EDMWeight(data)(s))


@pytest.mark.parametrize("prediction", PLAIN)
def test_weight_undoes_clean_error(prediction):
    error = torch.rand(6, generator=generator(1), dtype=torch.float64)
    clean = inx.clean_error(error, SIGMA, prediction)
    torch.testing.assert_close(LossWeight(prediction)(SIGMA) * clean, error, rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight", [LossWeight("v", "min_snr"), LossWeight("velocity", "cosmap"), LossWeight("eps")])
def test_weight_keeps_dtype_traces_and_pickles(weight):
    assert weight(SIGMA.float()).dtype == torch.float32
    torch._dynamo.reset()
    compiled = torch.compile(lambda s: weight(s) * s, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(SIGMA), weight(SIGMA) * SIGMA)
    assert pickle.loads(pickle.dumps(weight)) == copy.deepcopy(weight) == weight


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("epsilon",), "prediction is 'epsilon', but must be one of 'x0', 'eps', 'v', 'velocity'"),
        (("edm_f",), "prediction is 'edm_f'"),
        (("eps", "snr"), "scheme is 'snr', but must be one of 'none', 'min_snr'"),
        (("velocity", "min_snr"), "prediction of 'min_snr' is 'velocity', but must be one of x0, eps, v"),
        (("eps", "cosmap"), "prediction of 'cosmap' is 'eps'"),
        (("eps", "none", 5.0), "gamma is 5.0, but must be None"),
        (("eps", "min_snr", 0), "gamma is 0, but must be a finite number above 0"),
    ],
)
def test_names_that_mean_nothing_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        LossWeight(*arguments)


def test_weight_of_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="weight is 'epsilon', but must be one of 'x0', 'eps'"):
        inx.InfoNoise(weight="epsilon")


class Uncertainty(torch.nn.Module):
    """A learned weight as networks have it: float32, of a few features of log sigma."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)

    def forward(self, sigma):
        return self.linear(sigma.log().flatten().unsqueeze(-1)).exp().view(sigma.shape)


@pytest.mark.parametrize(
    "around", [lambda net: net, lambda net: lambda s: net(s), lambda net: lambda s: net(s).tolist()]
)
def test_float32_modules_are_weights(around):
    net = Uncertainty()
    found = evaluate("weight", around(net), SIGMA, positive=True)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    torch.testing.assert_close(found, net(SIGMA.float()).double(), rtol=1e-6, atol=0)


def test_module_of_another_dtype_or_device_is_called_as_it_is():
    net = Uncertainty().to(torch.bfloat16)
    assert evaluate("weight", net, SIGMA, positive=True).dtype == torch.float64
    seen = []
    net = Uncertainty().to("meta")
    net.forward = lambda sigma: (seen.append(sigma.device.type), torch.ones(6))[1]
    evaluate("weight", net, SIGMA, positive=True)
    assert seen == ["meta"]


def test_error_of_a_weight_is_its_own():
    def broken(sigma):
        raise RuntimeError("broken as float32 too")

    with pytest.raises(RuntimeError, match="broken as float32 too"):
        evaluate("weight", broken, SIGMA, positive=True)
