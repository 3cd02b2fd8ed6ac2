"""Host libraries installed without all that they import: their own code, and stand-ins for what it never runs here.

torchvision, which most of them need, has no build for every torch that the tests run on; others weigh more than all
the rest (warp-lang 149 MB) or need torchvision themselves (timm, clean-fid, clip). So the Makefile installs these
hosts with `--no-deps`, and `load` imports them with a stand-in for each name of `ABSENT` that is not installed. A
stand-in serves to import: as a decorator, a base class, an annotation. Used later it raises, so what a test runs
is the host's own code to the last line.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings

import pytest
import torch._dynamo

ABSENT = {
    "denoising_diffusion_pytorch": ["torchvision"],  # image files, in its Trainer
    "k_diffusion": ["cleanfid", "clip", "dctorch", "jsonmerge", "skimage", "torchvision"],  # evaluation, augmentation
    "physicsnemo": ["nvtx", "omegaconf", "s3fs", "tensordict", "timm", "treelib", "warp"],  # models, files, ranks
}


class StandIn:
    """Any name of an absent module, for as long as a host is being imported."""

    importing = False

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._of(f"{self._name}.{name}")

    def __call__(self, *args, **options):
        return self._of(f"{self._name}()")

    __or__ = __ror__ = __call__

    def __mro_entries__(self, bases):
        return ()

    def _of(self, name):
        if not StandIn.importing:
            raise RuntimeError(f"{name} is of a library that is not installed: only the import may touch it")
        return StandIn(name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last of the finders, so it is asked only for what is not installed."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        absent = name.split(".")[0] in self.names
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__getattr__ = StandIn(module.__name__).__getattr__


@contextlib.contextmanager
def _standing_in(names):
    finder = _Finder([name for name in names if importlib.util.find_spec(name) is None])
    sys.meta_path.append(finder)
    StandIn.importing = True
    try:
        yield
    finally:
        StandIn.importing = False
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] in finder.names]:
            del sys.modules[name]


def load(module):
    """The module, imported with stand-ins where its library has an entry in `ABSENT`; skips where that is missing.

    k-diffusion has TorchDynamo suppress its errors from its import on, for the whole process: not so for other tests.
    """
    library = module.split(".")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed", allow_module_level=True)
    kept = torch._dynamo.config.patch(suppress_errors=torch._dynamo.config.suppress_errors)
    with _standing_in(ABSENT.get(library, [])), kept, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


class Recorder:
    """Takes what would be recorded."""

    def observe(self, sigma, error, **options):
        self.sigma, self.error, self.options = sigma, error, options
