"""Which runs the full and the short form are made of, the most telling first."""

from .runs import Job
from .sweep import sweep

CHECKPOINTS = {"text": 8, "cross-entropy": 8, "embeddings": 8, "ks": 10, "fashion": 10, "latents": 10}
CHECKPOINTS |= {"fashion 7x7": 10, "fashion 28x28": 10}
STEPS = {"dna": 2000, "text": 1200, "bits": 2000, "genome": 2000, "cross-entropy": 1200, "embeddings": 1200}
STEPS |= {"patches": 3000, "patches x0.1": 3000, "patches x4": 3000, "ks": 2500, "fashion": 2500, "latents": 2000}
STEPS |= {"fashion 7x7": 2500, "fashion 28x28": 2500}
CODES = ("dna", "text", "bits")
POWERS = ("sharpened:0.5", "sharpened:1", "sharpened:3")
FIXED = {"dna": "log-normal:0.1:0.25", "text": "log-normal:-0.25:0.3", "embeddings": "log-normal:0.95:0.3"}
FIXED |= {"bits": "log-normal:0.1:0.25", "genome": "log-normal:0.1:0.25"}
"""The best of sweeps by hand; for embeddings, where the window of the trained ones lies."""
WEIGHTS = ("patches/unit", "patches/epsilon", "dna/edm", "dna/epsilon")
CHANGED = ("dna/decay", "dna/wide")
MORE = (3, 4)  # seeds of the sets that the README speaks of, beyond the three of all
RESIZED = {"fashion 7x7": "log-normal:-1.89:1.2", "fashion 28x28": "log-normal:-0.51:1.2"}
"""EDM's log-normal moved by the log of the sides' ratio to 14, where it is at home."""
SWEPT = {"bits": -0.3, "genome": 0.0, "cross-entropy": -0.3}  # how far `sweep.CENTRES` moves for them


def jobs(data: str, arms: tuple[str, ...], *seeds: int, steps: int = 0, stream: int = 0) -> list[Job]:
    """Every arm of one seed before the next; of the usual length if none is given."""
    base = data.split("/")[0]
    length, checkpoints = steps or STEPS[base], CHECKPOINTS.get(base, 12)
    return [Job(data, arm, length, seed, stream, checkpoints) for seed in seeds for arm in arms]


def full() -> list[Job]:
    """The most telling first, so that what is cut short compares all arms."""
    found = []
    for seed in (0, 1, 2):
        for data in (*CODES, "patches"):
            found += jobs(data, ("rule", "EDM", "entropy"), seed)
        for data in ("ks", "fashion", "latents", "patches x0.1", "patches x4"):
            found += jobs(data, ("rule", "EDM"), seed)
        found += jobs("latents", ("EDM shifted",), seed)
        for data in ("embeddings", "genome", "cross-entropy"):
            found += jobs(data, ("rule", "EDM", "entropy"), seed)
        for data in ("dna", "text"):
            found += jobs(data, (FIXED[data], "control"), seed)
        found += jobs("patches", ("control", "published"), seed)
        found += jobs("dna", ("published",), seed)
    for seed in (0, 1, 2):
        found += jobs("dna", ("rule", "EDM", "entropy"), seed, steps=4000)
        for data in (*WEIGHTS, *CHANGED):
            found += jobs(data, ("rule", "EDM", "entropy"), seed)
        for data in ("dna", "text", "patches"):
            found += jobs(data, POWERS, seed)
        for data in ("ks", "fashion", "latents"):
            found += jobs(data, ("entropy", "second moment"), seed)
        found += jobs("dna", ("second moment", "logit-normal"), seed) + jobs("text", ("second moment",), seed)
        found += jobs("latents", ("logit-normal",), seed) + jobs("cross-entropy", ("CDCD",), seed)
        found += jobs("embeddings", (FIXED["embeddings"],), seed)
    for seed in MORE:
        for data in (*CODES, "genome", "cross-entropy", "embeddings", "patches", "patches x0.1", "patches x4"):
            found += jobs(data, ("rule", "EDM"), seed)
        for data, arm in FIXED.items():
            found += jobs(data, (arm,), seed)
        for data in (*CODES, "genome", "cross-entropy", "embeddings", "patches"):
            found += jobs(data, ("entropy",), seed)
        for data in ("dna", "text", "patches"):
            found += jobs(data, ("control",), seed)
        found += jobs("dna", ("published",), seed) + jobs("patches", ("published",), seed)
    for data, shift in SWEPT.items():
        found += sweep(data, "codes", STEPS[data], CHECKPOINTS.get(data, 12), shift)
    for seed in (0, 1, 2):
        for data, arm in RESIZED.items():
            found += jobs(data, ("rule", "EDM", arm), seed)
    for seed in (0, 1, 2, *MORE):
        for data in ("patches x0.1", "patches x4"):
            found += jobs(data, ("EDM shifted",), seed)
        for data in ("bits", "genome"):
            found += jobs(data, (FIXED[data],), seed)
    for seed in MORE:
        for data in ("ks", "fashion", "latents"):
            found += jobs(data, ("rule", "EDM"), seed)
        found += jobs("latents", ("EDM shifted",), seed)
        found += jobs("dna", ("second moment", "logit-normal"), seed) + jobs("text", ("second moment",), seed)
        found += jobs("cross-entropy", ("CDCD",), seed) + jobs("dna", ("rule", "EDM", "entropy"), seed, steps=4000)
    return list(dict.fromkeys(found))


def short() -> list[Job]:
    """DNA for a moment: that everything runs, not who wins."""
    return [Job("dna", arm, 200, seed, 0, 2) for seed in (0, 1) for arm in ("rule", "EDM", "entropy")]
