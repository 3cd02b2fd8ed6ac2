// What the instructions compute that touch registers alone, for every lane of a mask.
//
// Divisions, square roots and fma round as IEEE 754 says, as the GPU's do. The `approx` instructions have errors that
// no document gives bit by bit; here they are correctly rounded, but for rcp.approx.ftz.f64, a start of Newton's
// iteration.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "program.h"

namespace ptx {

template <class T>
T get(Registers r, int reg, int lane) {
  T x;
  std::memcpy(&x, &r[reg][lane], sizeof x);
  return x;
}

template <class T>
void put(Registers r, int reg, int lane, T x) {
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof x);
  r[reg][lane] = bits;
}

// Of operations as structs with a static function `of`: one run for one, two or three operands of a type.
template <class Op, class T>
void run1(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) { put(r, i.to[0], k, Op::of(get<T>(r, i.of[0], k))); });
}
template <class Op, class T>
void run2(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) { put(r, i.to[0], k, Op::of(get<T>(r, i.of[0], k), get<T>(r, i.of[1], k))); });
}
template <class Op, class T>
void run3(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) {
    put(r, i.to[0], k, Op::of(get<T>(r, i.of[0], k), get<T>(r, i.of[1], k), get<T>(r, i.of[2], k)));
  });
}

#define PTX_OP1(Name, expression) \
  struct Name {                   \
    template <class T>            \
    static auto of(T a) {         \
      return expression;          \
    }                             \
  };
#define PTX_OP2(Name, expression) \
  struct Name {                   \
    template <class T>            \
    static auto of(T a, T b) {    \
      return expression;          \
    }                             \
  };
#define PTX_OP3(Name, expression)   \
  struct Name {                     \
    template <class T>              \
    static auto of(T a, T b, T c) { \
      return expression;            \
    }                               \
  };

// Sums and products wrap: integers come as unsigned ones here.
PTX_OP2(Add, T(a + b))
PTX_OP2(Subtract, T(a - b))
PTX_OP2(Multiply, T(a* b))
PTX_OP2(Quotient, T(a / b))
PTX_OP3(MultiplyAdd, T(a* b + c))
PTX_OP3(Fused, std::fma(a, b, c))
PTX_OP2(And, T(a& b))
PTX_OP2(Or, T(a | b))
PTX_OP2(Xor, T(a ^ b))
PTX_OP1(Not, T(~a))
PTX_OP1(Copy, a)
PTX_OP1(Negate, T(-a))
PTX_OP1(Magnitude, T(std::fabs(a)))
PTX_OP1(Whole, T(a < 0 ? -a : a))
PTX_OP1(Root, T(std::sqrt(a)))
PTX_OP1(Inverse, T(1 / a))
PTX_OP1(InverseRoot, T(1 / std::sqrt(double(a))))
PTX_OP1(Exp2, T(std::exp2(double(a))))
PTX_OP1(Log2, T(std::log2(double(a))))
PTX_OP2(Least, T(a < b ? a : b))
PTX_OP2(Most, T(a > b ? a : b))
PTX_OP2(LeastFloat, T(a != a ? b : b != b ? a : a < b || (a == b && std::signbit(a)) ? a : b))
PTX_OP2(MostFloat, T(a != a ? b : b != b ? a : a > b || (a == b && std::signbit(b)) ? a : b))
PTX_OP1(Ones, uint32_t(__builtin_popcountll(a)))
PTX_OP1(Zeros, uint32_t(a ? __builtin_clzll(a) - (64 - 8 * int(sizeof(T))) : 8 * int(sizeof(T))))
PTX_OP1(FindShift, uint32_t(a ? __builtin_clzll(a) - (64 - 8 * int(sizeof(T))) : -1))
PTX_OP1(Find, uint32_t(a ? 63 - __builtin_clzll(a) : -1))
PTX_OP2(DivideWhole, T(b == 0 ? T(-1) : std::is_signed_v<T> && b == T(-1) ? T(0 - std::make_unsigned_t<T>(a)) : a / b))
PTX_OP2(Remainder, T(b == 0 ? a : std::is_signed_v<T> && b == T(-1) ? T(0) : a % b))
PTX_OP2(HighProduct,
        T((std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>(a) * b) >> (8 * sizeof(T))))

struct Reverse {
  template <class T>
  static T of(T a) {
    T out = 0;
    for (unsigned k = 0; k < 8 * sizeof(T); ++k) out |= (a >> k & 1) << (8 * sizeof(T) - 1 - k);
    return out;
  }
};

struct RoughInverse {  // rcp.approx.ftz.f64: the upper half of a double that Newton's iteration starts from
  static double of(double a) {
    const double y = 1 / (std::fabs(a) < 0x1p-1022 ? std::copysign(0.0, a) : a);
    uint64_t bits;
    std::memcpy(&bits, &y, sizeof bits);
    bits &= std::fabs(y) < 0x1p-1022 ? 1ull << 63 : 0xFFFFFFFF00000000ull;
    double out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
  }
};

template <class T>
void run_left(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) {
    const uint32_t by = get<uint32_t>(r, i.of[1], k);
    put(r, i.to[0], k, T(by < 8 * sizeof(T) ? uint64_t(get<T>(r, i.of[0], k)) << by : 0));
  });
}

template <class T>
void run_right(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) {
    const uint32_t by = get<uint32_t>(r, i.of[1], k), most = 8 * sizeof(T) - 1;
    const T a = get<T>(r, i.of[0], k);
    put(r, i.to[0], k, T(by <= most ? a >> by : a < 0 ? -1 : 0));
  });
}

template <class T, class Long>
void run_wide(Registers r, const Instruction& i, uint32_t mask) {  // mul.wide and mad.wide
  for_lanes(mask, [&](int k) {
    const Long product = Long(get<T>(r, i.of[0], k)) * Long(get<T>(r, i.of[1], k));
    put(r, i.to[0], k,
        std::make_unsigned_t<Long>(product) + (i.inputs == 3 ? get<std::make_unsigned_t<Long>>(r, i.of[2], k) : 0));
  });
}

template <class T>
void run_select(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) { put(r, i.to[0], k, get<T>(r, r[i.of[2]][k] & 1 ? i.of[0] : i.of[1], k)); });
}

enum Comparison { kEq, kNe, kLt, kLe, kGt, kGe, kEqu, kNeu, kLtu, kLeu, kGtu, kGeu, kNum, kNan };

template <class T>
bool compare(int how, T a, T b) {
  const bool unordered = a != a || b != b;
  switch (how) {
    case kEq: return a == b;
    case kNe: return !unordered && a != b;
    case kLt: return a < b;
    case kLe: return a <= b;
    case kGt: return a > b;
    case kGe: return a >= b;
    case kEqu: return unordered || a == b;
    case kNeu: return unordered || a != b;
    case kLtu: return unordered || a < b;
    case kLeu: return unordered || a <= b;
    case kGtu: return unordered || a > b;
    case kGeu: return unordered || a >= b;
    case kNum: return !unordered;
    default: return unordered;
  }
}

enum Joined { kNotJoined, kJoinedAnd, kJoinedOr, kJoinedXor };

template <class T>
void run_compare(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) {
    const bool found = compare(i.mode, get<T>(r, i.of[0], k), get<T>(r, i.of[1], k));
    const bool other = i.second != kNotJoined && (r[i.of[2]][k] & 1);
    const auto joined = [&](bool p) {
      return i.second == kJoinedAnd ? p && other : i.second == kJoinedOr ? p || other : p != other;
    };
    r[i.to[0]][k] = joined(found);
    if (i.outputs == 2 && i.to[1] >= 0) r[i.to[1]][k] = joined(!found);
  });
}

inline void run_pack(Registers r, const Instruction& i, uint32_t mask) {  // mov.b64 d, {a, b}
  const int bits = 8 * size_of(i.type) / i.inputs;
  for_lanes(mask, [&](int k) {
    uint64_t out = 0;
    for (int j = 0; j < i.inputs; ++j) out |= (r[i.of[j]][k] & ((1ull << bits) - 1)) << (bits * j);
    r[i.to[0]][k] = out;
  });
}

inline void run_unpack(Registers r, const Instruction& i, uint32_t mask) {  // mov.b64 {a, b}, s
  const int bits = 8 * size_of(i.type) / i.outputs;
  for_lanes(mask, [&](int k) {
    const uint64_t whole = r[i.of[0]][k];
    for (int j = 0; j < i.outputs; ++j)
      if (i.to[j] >= 0) r[i.to[j]][k] = whole >> (bits * j) & ((1ull << bits) - 1);
  });
}

}  // namespace ptx
