"""Which runs the full and the short form are made of, the most telling first."""

from .runs import Job

CHECKPOINTS = 12
GAMMAS = (0.5, 1, 2, 3, 5)
SEEDS = 3
CODES = ("default", "EDM", *(f"sharpened:{gamma}" for gamma in GAMMAS), "control")
PATCHES = ("default", "EDM", "sharpened:0.5", "sharpened:1", "sharpened:2")
BITS = ("default", "EDM", "sharpened:0.5", "sharpened:1", "sharpened:3")


def jobs(data: str, steps: int, arms: tuple[str, ...], seed: int, stream: int = 0) -> list[Job]:
    """Every arm once."""
    return [Job(data, arm, steps, seed, stream, CHECKPOINTS) for arm in arms]


def full() -> list[Job]:
    """Round by round of seeds, so that what is cut short compares all arms."""
    rounds = []
    for seed in range(SEEDS):
        rounds += jobs("dna", 2000, CODES, seed) + jobs("text", 1200, CODES, seed)
        rounds += jobs("patches", 3000, PATCHES, seed) + jobs("dna", 2000, CODES, seed, stream=1)
    for seed in range(2):
        rounds += jobs("bits", 2000, BITS, seed)
    return rounds


def short() -> list[Job]:
    """DNA for a moment: that everything runs, not who wins."""
    return [Job("dna", arm, 250, seed, 0, 2) for seed in (0, 1) for arm in ("default", "EDM", "sharpened:3")]
