// What the device functions share: arguments of any dtype and stride, and a block's shared memory.
#pragma once

#include "refresh.h"

namespace infonoise {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;

enum Kind { kAbsent, kFloat32, kFloat64, kFloat16, kBfloat16, kInt64, kInt32, kBool };

struct Column {               // a strided vector argument
  const void* data;
  int64_t stride;
  Kind kind;
};

struct Block {                // the team of refresh.h
  __device__ int first() const { return threadIdx.x; }
  __device__ int step() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }
};

struct Header {               // at the front of a block's shared memory
  Range range;
  uint64_t offset;
  bool due, keeps;
};
constexpr int kHeaderBytes = 64;
static_assert(sizeof(Header) <= kHeaderBytes, "the header has outgrown its place");

__device__ inline Header* header_of(unsigned char* shared) { return reinterpret_cast<Header*>(shared); }

template <class T>
__device__ T* body_of(unsigned char* shared) {
  return reinterpret_cast<T*>(shared + kHeaderBytes);
}

__device__ inline float from_half(uint16_t bits) {
  const uint32_t size = bits & 0x7FFFu, sign = uint32_t(bits & 0x8000u) << 16;
  const uint32_t wide = size >= 0x7C00u ? 0x7F800000u | size << 13 : size << 13;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  value = size >= 0x7C00u ? value : value * 0x1p112f;
  return sign ? -value : value;
}

__device__ inline float from_bfloat(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// out[j] = element i + 32 j, for those below `end`: one branch on the type, so that the loads overlap.
template <int N, class To>
__device__ void read(const Column& c, int64_t i, int64_t end, To out[N]) {
  const auto each = [&](const auto* data, const auto& convert) {
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = To(i + 32 * j < end ? convert(data[(i + 32 * j) * c.stride]) : 0);
  };
  const auto same = [](auto x) { return x; };
  switch (c.kind) {
    case kFloat32: return each(static_cast<const float*>(c.data), same);
    case kFloat64: return each(static_cast<const double*>(c.data), same);
    case kFloat16: return each(static_cast<const uint16_t*>(c.data), [](uint16_t x) { return from_half(x); });
    default: return each(static_cast<const uint16_t*>(c.data), [](uint16_t x) { return from_bfloat(x); });
  }
}

__device__ inline int64_t group_at(const Column& c, int64_t i) {
  if (c.kind == kAbsent) return 0;
  i *= c.stride;
  return c.kind == kInt64 ? static_cast<const int64_t*>(c.data)[i] : static_cast<const int32_t*>(c.data)[i];
}

}  // namespace infonoise
