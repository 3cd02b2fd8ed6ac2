#!/usr/bin/env bash
# Random states through every compiled op for CPU tensors, under AddressSanitizer and UBSan: scripts/fuzz.sh SECONDS.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/build/fuzz
rm -rf "$build/infonoise_ext" && mkdir -p "$build" && cp -r infonoise_ext "$build/" && rm -f "$build"/infonoise_ext/_C.*
{
  cmake -S . -B "$build/cmake" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DINFONOISE_TORCH_DIR="$(python -c 'import torch; print(torch.__path__[0])')" \
    -DINFONOISE_OUTPUT_DIR="$build/infonoise_ext" \
    "-DCMAKE_CXX_FLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all"
  cmake --build "$build/cmake" --target _C
} > "$build/log" || { cat "$build/log"; exit 1; }
tests=$PWD/tests
cd "$build"  # not the package beside csrc, which no sanitizer watches
PYTHONPATH="$build:$tests" ASAN_OPTIONS=detect_leaks=0 \
  LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
  python -c "from faults.test_hostile import fuzz_for; fuzz_for($1)"
