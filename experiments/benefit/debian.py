"""Data of Debian packages: Fashion-MNIST and a bacterium's genome.

Fashion-MNIST: dataset-fashion-mnist, images by Zalando SE, 2017 (MIT; https://github.com/zalandoresearch/fashion-mnist).
Genome: Helicobacter pylori F32, NCBI NC_017366.1, public sequence data, in sibelia-examples (GPL-2).
"""

import gzip
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .data import HELD_OUT, Text

ROOTS = [Path("/"), Path("build/debian")]
FASHION = "usr/share/datasets/fashion-mnist"
GENOME = "usr/share/doc/sibelia/examples/Sibelia/Helicobacter_pylori/Helicobacter_pylori.fasta.gz"
NEEDED = {"fashion": ("dataset-fashion-mnist", FASHION), "genome": ("sibelia-examples", GENOME)}
BASES = "ACGT"


def find(package: str, path: str) -> Path:
    """A file of a Debian package, which is installed or was unpacked into build/debian.

    Raises:
        FileNotFoundError: it is neither; says how to get it.
    """
    for root in ROOTS:
        if (root / path).exists():
            return root / path
    raise FileNotFoundError(
        f"the Debian package {package} is missing: apt-get install {package}, or where its files are left out "
        f"apt-get download {package} && dpkg-deb -x {package}_*.deb {ROOTS[-1]}"
    )


def missing(data: str) -> str:
    """Why a task such as "fashion 7x7/decay" cannot be made here: what `find` says of its package; empty if it can."""
    source = re.split("[ /]", data)[0]
    try:
        if source in NEEDED:
            find(*NEEDED[source])
    except FileNotFoundError as trouble:
        return str(trouble)
    return ""


def fashion(part: str) -> tuple[Tensor, Tensor]:
    """Images [n, 28, 28] uint8 and classes [n] int64 of the part "train" or "t10k"."""
    images, labels = (
        idx(gzip.decompress((find(*NEEDED["fashion"]) / f"{part}-{kind}-ubyte.gz").read_bytes()))
        for kind in ("images-idx3", "labels-idx1")
    )
    return images, labels.long()


def idx(raw: bytes) -> Tensor:
    """The array of bytes in a file of the IDX format: two zeros, type 8, rank, sizes of four bytes each, values."""
    rank = raw[3]
    sizes = np.frombuffer(raw, ">i4", rank, offset=4).tolist()
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).copy()).view(sizes)


def genome() -> Text:
    """The 1.58 million bases of the first strain, in the order of `BASES`; the last tenth is held out."""
    with gzip.open(find(*NEEDED["genome"]), "rt") as file:
        bases = sequence(file.read())
    border = round((1 - HELD_OUT) * len(bases))
    return Text(bases[:border], bases[border:], size=len(BASES))


def sequence(fasta: str) -> Tensor:
    """Indices into `BASES` of the first sequence of a FASTA file, [n] int64; letters that name no base are left out."""
    first = fasta.split(">")[1].partition("\n")[2].upper()
    known = [BASES.index(letter) if letter in BASES else -1 for letter in map(chr, range(128))]
    codes = torch.tensor(known)[torch.frombuffer(bytearray(first.encode()), dtype=torch.uint8).long()]
    return codes[codes >= 0]
