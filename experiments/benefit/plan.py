"""Which runs the full and the short form are made of, the most telling first."""

from .runs import Job
from .sweep import sweep

CHECKPOINTS = {"dna": 12, "text": 8, "patches": 12, "bits": 12}
CHECKPOINTS |= dict.fromkeys(("ks", "grey", "grey x0.1", "grey x4", "fashion", "latents", "genome"), 10)
CHECKPOINTS |= {"patches x0.1": 12, "patches x4": 12, "cross-entropy": 8, "embeddings": 8}
GAMMAS = (0.5, 1, 2, 3, 5)
CODES = ("default", "EDM", *(f"sharpened:{gamma}" for gamma in GAMMAS), "control")
TEXT = ("default", "EDM", "sharpened:1", "sharpened:3", "sharpened:5", "control")
PATCHES = ("default", "EDM", "sharpened:0.5", "sharpened:1", "sharpened:2")
BITS = ("default", "EDM", "sharpened:0.5", "sharpened:1", "sharpened:3")
FIXED = ("EDM shifted", "log-normal:0.1:0.25")
LONGER = ("default", "EDM", "sharpened:1", "sharpened:3", "sharpened:5")
STREAMS = ("default", "sharpened:1", "sharpened:3", "control")


def jobs(data: str, steps: int, arms: tuple[str, ...], *seeds: int, stream: int = 0) -> list[Job]:
    """Every arm of one seed before the next."""
    return [Job(data, arm, steps, seed, stream, CHECKPOINTS[data.split("/")[0]]) for seed in seeds for arm in arms]


def full() -> list[Job]:
    """The most telling first, so that what is cut short compares all arms."""
    return [
        *jobs("dna", 2000, CODES, 0, 1),
        *jobs("text", 1200, TEXT, 0),
        *jobs("dna", 2000, CODES, 2),
        *jobs("text", 1200, TEXT, 1),
        *jobs("patches", 3000, PATCHES, 0, 1),
        *jobs("dna", 2000, STREAMS, 0, 1, 2, stream=1),
        *jobs("text", 1200, TEXT, 2),
        *jobs("text", 1200, ("sharpened:0.5", "sharpened:2"), 0, 1, 2),
        *jobs("bits", 2000, BITS, 0, 1),
        *jobs("patches", 3000, PATCHES, 2),
        *jobs("bits", 2000, BITS, 2),
        *jobs("dna", 2000, FIXED, 0, 1, 2),
        *jobs("dna", 4000, LONGER, 0, 1, 2),
    ]


def short() -> list[Job]:
    """DNA for a moment: that everything runs, not who wins."""
    return [Job("dna", arm, 200, seed, 0, 2) for seed in (0, 1) for arm in ("default", "EDM", "sharpened:3")]


ARMS = ("default", "EDM", "sharpened:0.5", "sharpened:1", "sharpened:3", "second moment")
SHIFTED = ("EDM shifted", "logit-normal")
BY_ENTROPY = ("default", "EDM", "EDM shifted", "sharpened:1", "sharpened:3", "CDCD")
VECTORS = {"ks": 2500, "fashion": 2500, "grey": 2500}
SCALED = {"patches x0.1": 3000, "patches x4": 3000, "grey x0.1": 2500, "grey x4": 2500, "latents": 2000}
LETTERS = {"embeddings": 1200, "cross-entropy": 1200}


def wider() -> list[Job]:
    """Further data, and log-normals swept over the headline's: all arms of a seed before the next."""
    found = []
    for seed in (0, 1, 2):
        for data, steps in SCALED.items():
            found += jobs(data, steps, (*ARMS, *SHIFTED), seed)
        for data, steps in VECTORS.items():
            found += jobs(data, steps, (*ARMS, "logit-normal"), seed)  # at home, where EDM is not shifted
        for data, steps in LETTERS.items():
            found += jobs(data, steps, BY_ENTROPY, seed)
        found += jobs("genome", 2000, (*ARMS, *SHIFTED), seed)
        found += jobs("patches", 3000, (*ARMS, "logit-normal"), seed)
        for data, steps in {"dna": 2000, "text": 1200}.items():
            found += jobs(data, steps, (*ARMS, *SHIFTED), seed)
    for data, steps in {"dna": 2000, "text": 1200, "genome": 2000}.items():
        found += sweep(data, "codes", steps, CHECKPOINTS[data])
    for data, steps in {"patches": 3000, "ks": 2500, "fashion": 2500}.items():
        found += sweep(data, "vectors", steps, CHECKPOINTS[data])
    return found
