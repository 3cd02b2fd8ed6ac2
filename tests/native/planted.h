// The planted bugs, which sleep until a test wakes one: by the hash (FNV-1a) of their names, which costs kernels
// nothing. nvcc includes this before all else when it compiles kernels whose bugs can be woken.
#pragma once

#include <cstdint>
#include <type_traits>

namespace planted {

#if defined(__CUDACC__)
__host__ __device__
#endif
    constexpr uint64_t hash_of(const char* name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (; *name; ++name) hash = (hash ^ uint64_t(*name)) * 0x100000001B3u;
  return hash;
}

}  // namespace planted

#if defined(__CUDACC__)
extern "C" {
__constant__ uint64_t planted_bug;
}
#define PLANT(name, right, wrong) \
  (planted_bug == std::integral_constant<uint64_t, planted::hash_of(#name)>::value ? (wrong) : (right))
#endif
