"""The ops with what nvcc compiled of the CUDA kernels, run by the interpreter of `tests/native/ptx`."""

import torch

from .emulated import Emulated, as_column


class Interpreted(Emulated):
    """As `Emulated`: what is not within the tensors of a call, element for element, no kernel may touch."""

    def column(self, x):
        if isinstance(x, torch.Tensor) and x.numel():
            last = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
            self.module.name(x.data_ptr(), (last + 1) * x.element_size())
        return as_column(x)

    def launch(self, name, *args):
        try:
            return getattr(self.module, name)(*args)
        finally:
            self.module.forget()
