// Conversions between numbers, and instructions that move bits within words.
#pragma once

#include "arithmetic.h"

namespace ptx {

enum Rounding { kNearest, kZero, kDown, kUp };

inline double rounded(double x, int how) {
  switch (how) {
    case kNearest: return std::nearbyint(x);
    case kZero: return std::trunc(x);
    case kDown: return std::floor(x);
    default: return std::ceil(x);
  }
}

inline double as_double(uint64_t raw, Type t) {
  switch (t) {
    case kF64: {
      double x;
      std::memcpy(&x, &raw, sizeof x);
      return x;
    }
    case kF32:
    case kBf16: {
      const uint32_t bits = t == kF32 ? uint32_t(raw) : uint32_t(raw) << 16;
      float x;
      std::memcpy(&x, &bits, sizeof x);
      return x;
    }
    default: {
      const uint16_t bits = uint16_t(raw);
      _Float16 x;
      std::memcpy(&x, &bits, sizeof x);
      return double(x);
    }
  }
}

// A float of type `t`, rounded to nearest even. From a double to a short one there is no conversion in PTX.
template <class From>
uint64_t as_bits(From x, Type t) {
  uint64_t out = 0;
  if (t == kF64) {
    const double y = double(x);
    std::memcpy(&out, &y, sizeof y);
    return out;
  }
  const float y = float(x);
  uint32_t bits;
  std::memcpy(&bits, &y, sizeof y);
  if (t == kF32) return y != y ? 0x7FFFFFFFu : bits;
  if (y != y) return 0x7FFF;
  if (t == kBf16) return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const _Float16 half = _Float16(y);
  std::memcpy(&out, &half, sizeof half);
  return out;
}

// Beyond the integer's range its nearest end; of NaN 0, or the sign bit alone where PTX says so.
inline uint64_t as_whole(double x, Type t, Type from) {
  const int bits = 8 * size_of(t);
  if (x != x) return from == kF64 || bits == 64 ? 1ull << (bits - 1) : 0;
  const double high = std::ldexp(1.0, is_signed(t) ? bits - 1 : bits), low = is_signed(t) ? -high : 0.0;
  if (x >= high) return bits_below(is_signed(t) ? bits - 1 : bits);
  if (x < low) return is_signed(t) ? 1ull << (bits - 1) : 0;
  return (is_signed(t) ? uint64_t(int64_t(x)) : uint64_t(x)) & bits_below(bits);
}

inline void run_convert(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) {
    const uint64_t raw = r[i.of[0]][k];
    uint64_t& out = r[i.to[0]][k];
    if (is_float(i.from)) {
      double x = as_double(raw, i.from);
      if (!is_float(i.type)) {
        out = as_whole(rounded(x, i.mode), i.type, i.from);
      } else {
        if (i.type == i.from) x = rounded(x, i.mode);
        out = as_bits(x, i.type);
      }
    } else if (is_float(i.type)) {
      const uint64_t x = widened(raw, i.from);
      out = is_signed(i.from) ? as_bits(int64_t(x), i.type) : as_bits(x, i.type);
    } else {
      out = widened(raw, i.from) & bits_below(8 * size_of(i.type));
    }
  });
}

inline void run_permute(Registers r, const Instruction& i, uint32_t mask) {  // prmt.b32
  for_lanes(mask, [&](int k) {
    const uint64_t bytes = uint32_t(r[i.of[0]][k]) | r[i.of[1]][k] << 32, choice = r[i.of[2]][k];
    uint32_t out = 0;
    for (int j = 0; j < 4; ++j) {
      const uint32_t n = choice >> (4 * j) & 15, byte = bytes >> (8 * (n & 7)) & 255;
      out |= (n & 8 ? (byte & 128 ? 255 : 0) : byte) << (8 * j);
    }
    put(r, i.to[0], k, out);
  });
}

inline void run_extract(Registers r, const Instruction& i, uint32_t mask) {  // bfe.u32
  for_lanes(mask, [&](int k) {
    const uint32_t at = r[i.of[1]][k] & 255, n = r[i.of[2]][k] & 255;
    put(r, i.to[0], k, uint32_t(at > 31 ? 0 : uint32_t(r[i.of[0]][k]) >> at & bits_below(int(n))));
  });
}

inline void run_insert(Registers r, const Instruction& i, uint32_t mask) {  // bfi.b32
  for_lanes(mask, [&](int k) {
    const int at = int(r[i.of[2]][k] & 255), n = int(r[i.of[3]][k] & 255);
    const uint64_t place = at > 31 ? 0 : bits_below(n) << at;
    put(r, i.to[0], k, uint32_t((r[i.of[1]][k] & ~place) | (r[i.of[0]][k] << (at & 31) & place)));
  });
}

inline void run_funnel(Registers r, const Instruction& i, uint32_t mask) {  // shf; mode: 1 to the left, 2 clamps
  for_lanes(mask, [&](int k) {
    const uint64_t both = uint32_t(r[i.of[0]][k]) | r[i.of[1]][k] << 32;
    const uint32_t by = uint32_t(r[i.of[2]][k]), n = i.mode & 2 ? (by < 32 ? by : 32) : by & 31;
    put(r, i.to[0], k, uint32_t(i.mode & 1 ? both << n >> 32 : both >> n));
  });
}

inline void run_logic3(Registers r, const Instruction& i, uint32_t mask) {  // lop3.b32
  for_lanes(mask, [&](int k) {
    const uint32_t a = r[i.of[0]][k], b = r[i.of[1]][k], c = r[i.of[2]][k], table = r[i.of[3]][k];
    uint32_t out = 0;
    for (int j = 0; j < 8; ++j)
      if (table >> j & 1) out |= (j & 4 ? a : ~a) & (j & 2 ? b : ~b) & (j & 1 ? c : ~c);
    put(r, i.to[0], k, out);
  });
}

}  // namespace ptx
