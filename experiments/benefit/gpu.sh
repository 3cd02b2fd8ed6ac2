#!/usr/bin/env bash
# The rule at a size for a GPU, in under eight minutes: experiments/benefit/gpu.sh [SECONDS].
# Needs torch with CUDA and its compiler, diffusers, tqdm, matplotlib, and the data that docs/research/bench.md names.
# Exit status 3: there is no CUDA device, and nothing was run.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "no CUDA device"; exit 3; }
PYTHONPATH=$PWD exec "$python" -m experiments.benefit.scale --seconds "${1:-420}" --out "${OUT:-experiments/results}/scale.json"
