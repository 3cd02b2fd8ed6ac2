"""Which runs the full and the short form are made of, the most telling first."""

from .runs import Job

CHECKPOINTS = {"dna": 12, "text": 8, "patches": 12, "bits": 12}
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
