// Loops in the widest vectors that the processor has, chosen as the library is loaded. Their bits are those of plain
// loops: every element goes through the same operations, and no multiplication is fused with an addition.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define INX_AVX2 __attribute__((target("avx2")))
#define INX_AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl")))
#endif

namespace infonoise::cpu {

enum Vectors { kPlain, kAvx2, kAvx512 };

#if defined(INX_AVX2)
inline Vectors widest_vectors() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return kPlain;
  const bool all = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return all ? kAvx512 : kAvx2;
}
#else
inline Vectors widest_vectors() { return kPlain; }
#endif

inline Vectors vectors = widest_vectors();  // tests narrow it

#if defined(INX_AVX2)

template <class Loop>
INX_AVX2 __attribute__((flatten, noinline)) void in_avx2(Loop loop) {
  loop();
}

template <class Loop>
INX_AVX512 __attribute__((flatten, noinline)) void in_avx512(Loop loop) {
  loop();
}

// A loop comes by value: so the compiler knows that what it captured by value is not what it writes.
template <class Loop>
void widest(Loop loop) {
  vectors == kAvx512 ? in_avx512(loop) : vectors == kAvx2 ? in_avx2(loop) : loop();
}
#else
template <class Loop>
void widest(Loop loop) {
  loop();
}
#endif

}  // namespace infonoise::cpu
