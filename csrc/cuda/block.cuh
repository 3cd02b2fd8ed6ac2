// What the device functions share: limits, arguments of any dtype and stride, and a block's shared memory.
// Of torch the kernels know the headers of its 16-bit floats alone.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>

#include "core/record.h"

#if defined(__CUDACC__)
#define INX_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define INX_BOTH __host__ __device__
#else
#define INX_BOTH
#endif

namespace infonoise::cuda {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int kThreads = 512;      // the most a block may have
constexpr int kDrawThreads = 320;  // of a block that only draws; two fit on a multiprocessor

struct Limits {
  int threads = kThreads;
  size_t shared = 99 * 1024;  // bytes that a block may ask for: sm_86 and newer have these, sm_75 64 KiB
  int64_t one_launch = 2048;  // samples that one block a group works through
  int64_t tile = 256;         // the fewest samples of a tile beyond that,
  int64_t full_tile = 8192;   // and the most while there are 512 tiles or fewer
  int64_t tallies = 1 << 24;  // the most ints of scratch memory
  int64_t multiprocessors = 132;
  int64_t cells = 8192;   // samples of one table from which on a block finds their bins by cells
  int64_t piece = 8192;   // the fewest elements of a sample that a block sums
  int64_t pieces = 4096;  // the most pieces of a sample
};

enum Kind { kAbsent, kFloat32, kFloat64, kFloat16, kBfloat16, kInt64, kInt32, kBool };

struct Column {  // a strided vector argument
  const void* data;
  int64_t stride;
  Kind kind;
};

struct alignas(16) Four {  // read or written at once
  float of[4];
};

struct Header {  // at the front of a block's shared memory
  Range range;
  float low, high;  // of the floats within the range
  uint64_t offset;
  int64_t steps;
  bool due, by_words;
};
constexpr int kHeaderBytes = 64;
static_assert(sizeof(Header) <= kHeaderBytes, "the header has outgrown its place");

template <class... Sizes>
size_t shared_bytes(Sizes... sizes) {
  return kHeaderBytes + std::max({size_t(0), size_t(sizes)...});
}

__device__ inline Header* header_of(unsigned char* shared) { return reinterpret_cast<Header*>(shared); }

template <class T>
__device__ T* body_of(unsigned char* shared) {
  return reinterpret_cast<T*>(shared + kHeaderBytes);
}

// out[j] = element i + 32 j, for those below `end`: one branch on the type, so that the loads overlap.
template <int N, class To>
__device__ void read(const Column& c, int64_t i, int64_t end, To out[N]) {
  const auto each = [&](const auto* data) {
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = i + 32 * j < end ? To(data[(i + 32 * j) * c.stride]) : To(0);
  };
  switch (c.kind) {
    case kFloat32: return each(static_cast<const float*>(c.data));
    case kFloat64: return each(static_cast<const double*>(c.data));
    case kFloat16: return each(static_cast<const Half*>(c.data));
    default: return each(static_cast<const BFloat16*>(c.data));
  }
}

__device__ inline int64_t group_at(const Column& c, int64_t i) {
  if (c.kind == kAbsent) return 0;
  i *= c.stride;
  return c.kind == kInt64 ? static_cast<const int64_t*>(c.data)[i] : static_cast<const int32_t*>(c.data)[i];
}

}  // namespace infonoise::cuda
