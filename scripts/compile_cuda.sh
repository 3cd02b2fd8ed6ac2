#!/usr/bin/env bash
# Compiles the CUDA ops for every architecture, without a GPU, and fails on a spilled register, a stack
# frame, or a kernel above its register budget. Needs nvcc and an installed torch of any kind.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A budget=(
  [observe_kernel]=64 [advance_kernel]=104 [tally_kernel]=64 [place_kernel]=104 [finish_kernel]=96
  [sample_kernel]=96 [bin_stats_kernel]=40 [refresh_kernel]=96
  [denoising_error_kernel]=64 [denoising_fold_kernel]=40 [denoising_gradient_kernel]=64
)
torch=${TORCH_DIR:-$(python3 -c 'import torch; print(torch.__path__[0])')}
build=build/cuda-check
mkdir -p "$build"

failed=0
architectures=${ARCHITECTURES:-75 80 90 100 120}
compile() {
  nvcc -std=c++17 -O3 -fmad=false -DUSE_CUDA -DTORCH_TARGET_VERSION=0x020a000000000000ULL \
    -gencode "arch=compute_$1,code=sm_$1" -Xcompiler -fPIC -Xptxas -v \
    -isystem "$torch/include" -Icsrc -c "csrc/cuda/$2.cu" -o "$build/$2.sm_$1.o" 2> "$build/$2.sm_$1.log"
}
for arch in $architectures; do
  { compile "$arch" ops && compile "$arch" loss_ops; } &
  compiler[arch]=$!
done
for arch in $architectures; do
  logs=("$build"/{ops,loss_ops}."sm_$arch.log")
  wait "${compiler[arch]}" || { cat "${logs[@]}"; exit 1; }
  if grep -E '[1-9][0-9]* bytes (stack frame|spill)' "${logs[@]}"; then failed=1; fi
  seen=0
  while read -r kernel registers; do
    seen=$((seen + 1))
    verdict=ok
    if ((registers > ${budget[$kernel]:-0})); then
      verdict="too many"
      failed=1
    fi
    printf 'sm_%-4s %-18s %3d registers of %3d  %s\n' "$arch" "$kernel" "$registers" "${budget[$kernel]:-0}" "$verdict"
  done < <(awk '
    /Function properties for/ { kernel = match($0, /[a-z_]+_kernel/) ? substr($0, RSTART, RLENGTH) : "" }
    /Used [0-9]+ registers/ && kernel { match($0, /Used [0-9]+/); print kernel, substr($0, RSTART + 5, RLENGTH - 5) }
  ' "${logs[@]}" | sort)
  if ((seen != ${#budget[@]})); then
    echo "sm_$arch: ${#budget[@]} kernels have a budget, but ptxas reported $seen"
    failed=1
  fi
done
exit "$failed"
