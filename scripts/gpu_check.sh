#!/usr/bin/env bash
# Proves and measures the package on a machine with a CUDA GPU, in one call of under eight minutes.
#
#   scripts/gpu_check.sh          every phase; a phase that fails does not keep the next from running
#   scripts/gpu_check.sh PHASE    facts, build, tests, sanitizer or benchmarks alone
#
# Environment: OUT, folder of the results (build/gpu-check); COMMIT, where there is no git; PYTHON (python3).
# Needs torch >= 2.10 with CUDA and pytest. The compiled ops may come along, in infonoise_ext/ or as a wheel in dist/;
# without them, and without nvcc and cmake, Triton serves CUDA tensors. Without compute-sanitizer the report says so.
# Exit status: 0 all passed, 1 a phase failed, 3 no CUDA device: nothing was measured.
# shellcheck disable=SC2329  # each phase is a function that a second run of this script is told to call
set -uo pipefail
cd "$(dirname "$0")/.." || exit

out=${OUT:-build/gpu-check}
work=build/gpu-check-work
python=${PYTHON:-python3}
total=465
mkdir -p "$out" "$work"
out=$(cd "$out" && pwd)
export OUT=$out PYTHONPATH=$PWD:$PWD/tests${PYTHONPATH:+:$PYTHONPATH}
export TRITON_CACHE_DIR=$PWD/$work/triton TORCHINDUCTOR_CACHE_DIR=$PWD/$work/inductor PYTHONUNBUFFERED=1

# First PATH, then CUDA_HOME, the usual folders, and the packages beside torch.
find_tool() {
  local site found
  command -v "$1" && return
  site=$("$python" -c 'import torch; print(torch.__path__[0] + "/..")')
  for found in "${CUDA_HOME:-/nowhere}"/{bin,compute-sanitizer}/"$1" /usr/local/cuda*/{bin,compute-sanitizer}/"$1" \
    "$site"/nvidia/*/bin/"$1"; do
    [[ -x $found ]] && { echo "$found"; return; }
  done
  return 1
}

has_device() { "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; }

facts() { "$python" -m benchmarks.gpu.facts; }

# Keeps the library that came along if it serves CUDA tensors here, else takes the one of a wheel in dist/, else lets
# CMake build one. Where nothing of this does, Triton serves CUDA tensors, and is all that the phases below look at.
build() {
  local wheel=(dist/*.whl) nvcc failed
  serves_cuda "as it came" && return
  if [[ -e ${wheel[0]} ]]; then
    "$python" -m zipfile -e "${wheel[0]}" "$work/wheel" && cp "$work/wheel/infonoise_ext/_C.abi3.so" infonoise_ext/ || return
    serves_cuda "from ${wheel[0]}" && return
  fi
  nvcc=$(find_tool nvcc) && PATH=$(dirname "$nvcc"):$PATH
  CUDAARCHS=$(capability) "$python" setup.py -q build_ext --inplace --build-temp "$work/setup"
  failed=$?
  serves_cuda "built here" || echo "no CUDA C++ here: Triton serves CUDA tensors, and nothing else is measured"
  return "$failed"
}

# Loads the package as a user does; HOW is for the log.
serves_cuda() {
  "$python" - "$1" 2>&1 << 'END' | tee "$work/serving"
import sys, torch
torch.cuda.is_available() and torch.cuda.init()
from infonoise_ext import doctor
from infonoise_ext.ops import registry as ops
print(f"{sys.argv[1]}: {ops.serving('cuda')} serves CUDA tensors")
print(doctor.report())
END
  grep -q ': CUDA C++ serves' "$work/serving"
}

capability() { "$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())' 2> /dev/null || echo 90; }

tests() {
  local options=(-p no:cacheprovider -v -rfEs --tb=short --durations=10 --maxfail=15) built=0
  grep -qs ': CUDA C++ serves' "$work/serving" && built=1
  if ! "$python" -c 'import pytest' 2> /dev/null; then
    echo "pytest is not available: every op is exercised once instead"
    "$python" tests/gpu/exercise.py auto && "$python" tests/gpu/exercise.py triton
    return
  fi
  "$python" -c 'import pytest_timeout' 2> /dev/null && options+=(--timeout=60 --timeout-method=thread)
  "$python" -c 'import xdist' 2> /dev/null && options+=(-n 8 --dist worksteal)
  INFONOISE_CUDA_BUILT=$built INFONOISE_TEST_DEVICE=cuda TORCHINDUCTOR_COMPILE_THREADS=2 \
    "$python" -m pytest tests/gpu tests/ops/test_ops.py "${options[@]}"
}

# Each tool beside the others: they take turns on the GPU, and their start takes longer than their work.
sanitizer() {
  local tool backend name log jobs=() failed=0
  : > "$work/sanitizer.tsv"
  if ! name=$(find_tool compute-sanitizer); then
    printf 'compute-sanitizer\tnot available\n' | tee "$work/sanitizer.tsv"
    return
  fi
  for tool in memcheck racecheck synccheck initcheck; do
    for backend in auto triton; do
      local options=(--tool "$tool" --error-exitcode 9 --print-limit 20)
      [[ $tool == memcheck ]] && options+=(--report-api-errors no)
      PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout -k 5 "${SANITIZER_SECONDS:-80}" \
        "$name" "${options[@]}" "$python" tests/gpu/exercise.py "$backend" > "$work/$tool-$backend.log" 2>&1 &
      jobs+=("$!:$tool-$backend")
    done
  done
  for name in "${jobs[@]}"; do
    wait "${name%%:*}"
    verdict "$?" "$work/${name#*:}.log" "${name#*:}" || failed=1
  done
  return "$failed"
}

verdict() {
  local status=$1 log=$2 name=$3 said
  said=$(grep -E 'SUMMARY' "$log" | sed 's/^=* *//' | tr '\n' ' ')
  if grep -qi 'device not supported' "$log"; then
    said="not available: the tool refuses this device" status=0
  elif ((status == 124 || status == 137)); then
    said="time was up"
  elif ((status != 0)); then
    said="FAILED ($status): $said"
  fi
  printf '%s\t%s\n' "$name" "${said:-no errors}" | tee -a "$work/sanitizer.tsv"
  echo "--- $name"; cat "$log"
  return "$((status != 0))"
}

benchmarks() { "$python" -m benchmarks.gpu --out "$out" --seconds "${BENCHMARK_SECONDS:-150}"; }

# NAME SECONDS: one phase within its time and what is left of the total, its output in a log.
phase() {
  local name=$1 limit=$2 began=$SECONDS status outcome=passed
  ((limit > total - SECONDS)) && limit=$((total - SECONDS))
  ((limit > 0)) || return # for timeout, 0 is no limit
  echo "== $name (at most $limit s)"
  SANITIZER_SECONDS=$((limit - 10)) BENCHMARK_SECONDS=$((limit - 30)) \
    timeout -k 5 "$limit" bash scripts/gpu_check.sh "$name" > "$out/$name.log" 2>&1
  status=$?
  ((status == 0)) || { outcome="failed ($status)"; failed=1; }
  ((status == 124 || status == 137)) && outcome="time was up"
  printf '%s\t%s\t%s\n' "$name" "$outcome" "$((SECONDS - began))" | tee -a "$work/phases.tsv"
  [[ $outcome == passed ]] || tail -n 25 "$out/$name.log"
}

case ${1:-all} in
  facts | build | tests | sanitizer | benchmarks) "$1"; exit ;;
  all) ;;
  *) sed -n '2,11p' scripts/gpu_check.sh; exit 2 ;;
esac

failed=0
rm -f "$out"/gpu-*.json "$work"/*.tsv
phase facts 30
cat "$out/facts.log"
if ! has_device; then
  echo "no CUDA device: nothing was measured"
  exit 3
fi
phase build 120
phase tests 160
phase sanitizer 90
phase benchmarks 300
cp "$out"/gpu-*.json benchmarks/results/ # also what a run that was stopped has measured
"$python" -m benchmarks.gpu.summary "$out" "$work"
exit "$failed"
