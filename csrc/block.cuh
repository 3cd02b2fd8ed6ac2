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

// Conversions of 16-bit floats: what a GPU has an instruction for, and the same in plain arithmetic.
__device__ inline float from_half(uint16_t bits) {
#if defined(__CUDA_ARCH__)
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(bits));
  return wide;
#else
  const uint32_t size = bits & 0x7FFFu, sign = uint32_t(bits & 0x8000u) << 16;
  const uint32_t wide = size >= 0x7C00u ? 0x7F800000u | size << 13 : size << 13;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  value = size >= 0x7C00u ? value : value * 0x1p112f;
  return sign ? -value : value;
#endif
}

__device__ inline uint16_t to_half(float value) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#else
  uint32_t wide, rounded;
  std::memcpy(&wide, &value, sizeof wide);
  const uint32_t sign = wide >> 16 & 0x8000u, size = wide & 0x7FFFFFFFu;
  if (size > 0x7F800000u) return uint16_t(sign | 0x7E00u);
  if (size >= 0x477FF000u) return uint16_t(sign | 0x7C00u);               // 65520 and above
  // Adding 2^13 times the power of two below, at least 2^-14, leaves what a half can hold.
  const uint32_t magic_bits = (size < 0x38800000u ? 0x38800000u : size & 0x7F800000u) + (13u << 23);
  float magic, magnitude;
  std::memcpy(&magic, &magic_bits, sizeof magic);
  std::memcpy(&magnitude, &size, sizeof magnitude);
  magnitude = magnitude + magic - magic;
  std::memcpy(&rounded, &magnitude, sizeof rounded);
  if (magnitude < 0x1p-14f) return uint16_t(sign | uint32_t(magnitude * 0x1p24f));
  return uint16_t(sign | (rounded - (112u << 23)) >> 13);
#endif
}

__device__ inline uint16_t to_bfloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return uint16_t(bits >> 16 | 0x40u);   // NaN, quiet
  return uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
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
