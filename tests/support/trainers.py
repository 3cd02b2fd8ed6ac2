"""Stand-ins for trainers that no package index has: their classes, methods and order of calls, around one network.

The network knows the clean latents but for a factor of 0.9, in whatever it predicts, so that the clean error of a
sample is a hundredth of its mean square. Each keeps the flow times, or the timesteps, that it noised with.
"""

import torch

FACTOR = 0.9


def clean_error(latents):
    return (1 - FACTOR) ** 2 * latents.square().flatten(1).mean(1)


def prediction(latents, noise, t, grad=True):
    """The velocity at flow times t that means FACTOR latents, with a gradient."""
    missing = torch.tensor(1 - FACTOR, requires_grad=grad)
    return noise - latents + missing * latents / t.view(-1, 1, 1, 1)


class Utils:
    """A module of kohya's sd-scripts: the functions that draw."""

    def get_noisy_model_input_and_timesteps(self, args, noise_scheduler, latents, noise, device, dtype):
        t = torch.full((len(latents), 1, 1, 1), 0.5)
        return ((1 - t) * latents + t * noise).to(dtype), 1000 * t.flatten().to(dtype), t

    def get_timesteps(self, min_timestep, max_timestep, b_size, device):
        return torch.full((b_size,), 500)


class Kohya:
    """`NetworkTrainer` of kohya's train_network.py; `utils` is the module that it draws with."""

    def __init__(self, utils):
        self.utils = utils

    def load_target_model(self, args, weight_dtype, accelerator):
        return "model"

    def process_batch(self, *batch, is_train=True):
        pred, target, _, _ = self.get_noise_pred_and_target(*batch, is_train=is_train)
        return (pred - target).square().mean()

    def all_reduce_network(self, accelerator, network):
        return None


class FluxNetworkTrainer(Kohya):
    def get_noise_pred_and_target(self, args, accelerator, noise_scheduler, latents, dtype, is_train=True):
        noise = torch.randn_like(latents)
        _, timesteps, self.t = self.utils.get_noisy_model_input_and_timesteps(
            args, noise_scheduler, latents, noise, latents.device, dtype
        )
        return prediction(latents, noise, self.t, is_train), noise - latents, timesteps, None


class SdxlNetworkTrainer(Kohya):
    def get_noise_scheduler(self, args, device):
        from diffusers import DDPMScheduler

        return DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")

    def get_noise_pred_and_target(self, args, accelerator, noise_scheduler, latents, dtype, is_train=True):
        noise = torch.randn_like(latents)
        self.timesteps = self.utils.get_timesteps(0, 1000, len(latents), latents.device)
        a2 = noise_scheduler.alphas_cumprod[self.timesteps].view(-1, 1, 1, 1)
        return noise + ((1 - FACTOR) * (a2 / (1 - a2)).sqrt() * latents).requires_grad_(), noise, self.timesteps, None


class Output:
    def __init__(self, pred, target):
        self.pred, self.target = pred, target


class NetworkTrainer:
    """musubi-tuner's."""

    def on_transformer_loaded(self, args, accelerator, transformer):
        return None

    def get_noisy_model_input_and_timesteps(self, args, noise, latents, timesteps, noise_scheduler, device, dtype):
        raise AssertionError("the schedule takes its place")

    def process_batch(self, args, latents):
        noise = torch.randn_like(latents)
        self.noisy, timesteps = self.get_noisy_model_input_and_timesteps(
            args, noise, latents, None, None, latents.device, torch.bfloat16
        )
        self.t = (timesteps - 1) / 1000
        return self.compute_loss(
            args, Output(prediction(latents, noise, self.t), noise - latents), timesteps, None, None
        )

    def compute_loss(self, args, output, timesteps, *rest):
        return (output.pred - output.target).square().mean(), {}

    def on_post_optimizer_step(self, args, accelerator, network, transformer, sync_gradients, global_step):
        return None


class WanNetworkTrainer(NetworkTrainer):
    """With two experts: a sample's time is drawn again until it suits the one for t of at least 0.5."""

    def get_noisy_model_input_and_timesteps(self, args, noise, latents, timesteps, *rest):
        found = []
        for x, n in zip(latents, noise, strict=True):
            while True:
                noisy, time = super().get_noisy_model_input_and_timesteps(args, n[None], x[None], None, *rest)
                if time[0] / 1000 >= 0.5:
                    found.append((noisy, time))
                    break
        return tuple(torch.cat(part) for part in zip(*found, strict=True))


class SimpleTunerFlux:
    """A model class of SimpleTuner."""

    def __init__(self, config, accelerator):
        self.config, self.accelerator = config, accelerator

    def step(self, latents, global_step):
        noise = torch.randn_like(latents)
        sigmas, timesteps = self.sample_flow_sigmas({"latents": latents}, {"global_step": global_step})
        assert torch.equal(timesteps, 1000 * sigmas)
        self.t = sigmas
        batch = {"latents": latents, "noise": noise, "sigmas": sigmas.to(torch.bfloat16)}
        return self.loss(batch, {"model_prediction": prediction(latents, noise, sigmas)})

    def get_prediction_target(self, prepared_batch):
        return prepared_batch["noise"] - prepared_batch["latents"]

    def loss(self, prepared_batch, model_output, apply_conditioning_mask=True):
        return model_output["model_prediction"].sum()


class Batch:
    def __init__(self, latents):
        self.latents = latents


class FlowScheduler:
    def set_train_timesteps(self, num_timesteps, device, timestep_type="linear", latents=None, patch_size=1):
        raise AssertionError("the schedule takes its place")


class SDTrainer:
    """ai-toolkit's: a table of times for every batch, of which it picks at random."""

    device_torch, is_grad_accumulation_step = torch.device("cpu"), False

    def __init__(self):
        self.sd = type("Model", (), {"noise_scheduler": FlowScheduler()})()

    def hook_before_train_loop(self):
        return None

    def hook_train_loop(self, batch):
        scheduler, latents = self.sd.noise_scheduler, batch.latents
        scheduler.set_train_timesteps(1000, device="cpu", timestep_type="sigmoid", latents=latents, patch_size=1)
        assert (scheduler.timesteps.diff() <= 0).all()
        timesteps, noise = scheduler.timesteps[torch.randint(0, 999, (len(latents),))], torch.randn_like(latents)
        self.t = timesteps / 1000
        return self.calculate_loss(
            prediction(latents, noise, self.t), noise, None, timesteps, batch, mask_multiplier=1.0
        )

    def calculate_loss(self, noise_pred, noise, noisy_latents, timesteps, batch, mask_multiplier=1.0):
        return noise_pred.sum()


class FluxLoRASetup:
    """OneTrainer's; its own times are those of a triangle."""

    train_device = torch.device("cpu")

    def setup_model(self, model, config):
        return None

    def _get_timestep_discrete(self, num_train_timesteps, deterministic, generator, batch_size, config, shift=None):
        if deterministic:
            return torch.tensor([num_train_timesteps // 2 - 1])
        u = torch.rand(2, batch_size, generator=generator, device=generator.device).mean(0)
        return (u * num_train_timesteps).int()

    def train(self, latents, deterministic=False):
        noise = torch.randn_like(latents)
        index = self._get_timestep_discrete(1000, deterministic, torch.Generator(), len(latents), None)
        self.t = (index + 1) / 1000
        predicted = prediction(latents, noise, self.t, not deterministic)
        data = {"timestep": index, "predicted": predicted, "target": noise - latents}
        self.calculate_loss(None, {}, data, None)
        if not deterministic:
            self.after_optimizer_step(None, None, None)

    def calculate_loss(self, model, batch, data, config):
        return data["predicted"].sum()

    def after_optimizer_step(self, model, config, train_progress):
        return None


class GaussianDiffusion:
    """DiT's, with a network that predicts epsilon, and a variational term beside the plain error."""

    num_timesteps = 1000

    def __init__(self):
        betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        self.alphas_cumprod = (1 - betas).cumprod(0).numpy()

    def training_losses(self, model, x_start, t, model_kwargs=None):
        a2 = torch.from_numpy(self.alphas_cumprod)[t].float().view(-1, 1, 1, 1)
        self.sigma = ((1 - a2) / a2).sqrt().flatten()
        noise = torch.randn_like(x_start)
        eps = noise + (1 - FACTOR) * (a2 / (1 - a2)).sqrt() * x_start
        mse = (eps - noise).square().flatten(1).mean(1)
        return {"mse": mse, "vb": torch.ones_like(mse), "loss": mse + 1}


class Transport:
    """SiT's, on the linear path, where the model predicts the velocity."""

    def training_losses(self, model, x1, model_kwargs=None):
        self.t, x0, x1 = self.sample(x1)
        shaped = self.t.view(-1, 1, 1, 1)
        output = model(shaped * x1 + (1 - shaped) * x0, self.t, **(model_kwargs or {}))
        known = x1 - x0 - (1 - FACTOR) * x1 / (1 - shaped) + 0 * output
        return {"loss": (known - (x1 - x0)).square().flatten(1).mean(1)}
