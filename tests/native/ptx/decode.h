// Which function runs an opcode, and what the cost model counts it as. An opcode that is not here ends the test.
#pragma once

#include "convert.h"
#include "parser.h"

namespace ptx {

// make(T()) for the C++ type of a PTX type; no run where there is none. Unsigned unless signs matter.
template <class Make>
Run by_size(Type t, const Make& make) {
  switch (size_of(t)) {
    case 1: return make(uint8_t());
    case 2: return make(uint16_t());
    case 4: return make(uint32_t());
    default: return make(uint64_t());
  }
}

template <class Make>
Run by_sign(Type t, const Make& make) {
  switch (t) {
    case kS16: return make(int16_t());
    case kS32: return make(int32_t());
    case kS64: return make(int64_t());
    default: return by_size(t, make);
  }
}

template <class Make>
Run by_float(Type t, const Make& make) {
  return t == kF32 ? make(float()) : t == kF64 ? make(double()) : nullptr;
}

#define PTX_MAKE(Name, function) \
  template <class Op>            \
  struct Name {                  \
    template <class T>           \
    Run operator()(T) const {    \
      return function<Op, T>;    \
    }                            \
  };
PTX_MAKE(Unary, run1)
PTX_MAKE(Binary, run2)
PTX_MAKE(Ternary, run3)
#define PTX_EACH(function) [](auto x) { return Run(function<decltype(x)>); }

template <class Op>
Run add_like(Type t) {  // sums: of floats, or of integers that wrap
  return is_float(t) ? by_float(t, Binary<Op>()) : by_size(t, Binary<Op>());
}

template <class OfFloats, class OfIntegers>
Run order_like(Type t) {
  return is_float(t) ? by_float(t, Binary<OfFloats>()) : by_sign(t, Binary<OfIntegers>());
}

inline void run_map(Registers r, const Instruction& i, uint32_t mask) {  // mapa: the same place in another block
  for_lanes(mask, [&](int k) {
    const uint64_t place = r[i.of[0]][k] & ~(0xFFull << kRankShift);
    r[i.to[0]][k] = place | (r[i.of[1]][k] + 1) << kRankShift;
  });
}

class Decoder {
 public:
  Decoder(Instruction& i, const Words& words) : i_(i), words_(words) { name_types(i, words); }

  bool has(const char* word) const { return ptx::has(words_, word); }

  // Of an instruction that touches registers alone; false of any other.
  bool plain() {
    const Type t = i_.type;
    const std::string& name = words_[0];
    const auto is = [&](const char* other) { return name == other; };
    if (has("sat") || has("cc")) throw std::runtime_error("saturation and carries are not interpreted");
    i_.cost = t == kF64 ? kDouble : t == kF32 ? kFloat : kInteger;
    if (is("add")) return set(add_like<Add>(t));
    if (is("sub")) return set(add_like<Subtract>(t));
    if (is("mul") || is("mad")) return multiply(is("mad"));
    if (is("fma")) return set(by_float(t, Ternary<Fused>()));
    if (is("div") && is_float(t)) return set(by_float(t, Binary<Quotient>()), slow());
    if (is("div")) return set(by_sign(t, Binary<DivideWhole>()), kDivide);
    if (is("rem")) return set(by_sign(t, Binary<Remainder>()), kDivide);
    if (is("rcp") && t == kF64 && has("approx")) return set(run1<RoughInverse, double>);
    if (is("rcp")) return set(by_float(t, Unary<Inverse>()), slow());
    if (is("sqrt")) return set(by_float(t, Unary<Root>()), slow());
    if (is("rsqrt")) return set(by_float(t, Unary<InverseRoot>()), slow());
    if (is("ex2")) return set(by_float(t, Unary<Exp2>()), kConvert);
    if (is("lg2")) return set(by_float(t, Unary<Log2>()), kConvert);
    if (is("min")) return set(order_like<LeastFloat, Least>(t));
    if (is("max")) return set(order_like<MostFloat, Most>(t));
    if (is("and")) return set(by_size(t, Binary<And>()));
    if (is("or")) return set(by_size(t, Binary<Or>()));
    if (is("xor")) return set(by_size(t, Binary<Xor>()));
    if (is("not")) return set(by_size(t, Unary<Not>()));
    if (is("neg")) return set(is_float(t) ? by_float(t, Unary<Negate>()) : by_size(t, Unary<Negate>()));
    if (is("abs")) return set(is_float(t) ? by_float(t, Unary<Magnitude>()) : by_sign(t, Unary<Whole>()));
    if (is("shl")) return set(by_size(t, PTX_EACH(run_left)));
    if (is("shr")) return set(by_sign(t, PTX_EACH(run_right)));
    if (is("selp")) return set(by_size(t, PTX_EACH(run_select)), kMove);
    if (is("setp")) return comparison();
    if (is("mov")) return set(run1<Copy, uint64_t>, kMove);
    if (is("mapa")) return set(run_map, kMove);
    if (is("popc")) return set(by_size(t, Unary<Ones>()));
    if (is("clz")) return set(by_size(t, Unary<Zeros>()));
    if (is("bfind")) return set(has("shiftamt") ? by_size(t, Unary<FindShift>()) : by_size(t, Unary<Find>()));
    if (is("brev")) return set(by_size(t, Unary<Reverse>()));
    if (is("prmt")) return set(run_permute);
    if (is("bfe") && t == kU32) return set(run_extract);
    if (is("bfi") && t == kU32) return set(run_insert);
    if (is("lop3")) return set(run_logic3);
    if (is("shf")) {
      i_.mode = uint8_t(has("l") + 2 * has("clamp"));
      return set(run_funnel);
    }
    if (is("cvt")) return convert();
    return false;
  }

 private:
  Instruction& i_;
  const Words& words_;

  Class slow() const { return i_.type == kF64 ? kDoubleDivide : kFloatDivide; }

  bool set(Run run, int cost = -1) {
    if (!run) throw std::runtime_error("not interpreted for this type");
    i_.run = run;
    if (cost >= 0) i_.cost = Class(cost);
    return true;
  }

  bool multiply(bool adds) {
    const Type t = i_.type;
    if (is_float(t) && adds) return set(by_float(t, Ternary<Fused>()));
    if (is_float(t)) return set(by_float(t, Binary<Multiply>()));
    if (has("hi") && !adds) return set(by_sign(t, Binary<HighProduct>()), kMultiply);
    if (!has("wide")) return set(adds ? by_size(t, Ternary<MultiplyAdd>()) : by_size(t, Binary<Multiply>()), kMultiply);
    switch (t) {
      case kU16: return set(run_wide<uint16_t, uint32_t>, kMultiply);
      case kS16: return set(run_wide<int16_t, int32_t>, kMultiply);
      case kU32: return set(run_wide<uint32_t, uint64_t>, kMultiply);
      case kS32: return set(run_wide<int32_t, int64_t>, kMultiply);
      default: return set(nullptr);
    }
  }

  bool comparison() {
    static const std::map<std::string, int> names = {
        {"eq", kEq},   {"ne", kNe},   {"lt", kLt},   {"le", kLe},   {"gt", kGt},   {"ge", kGe},
        {"lo", kLt},   {"ls", kLe},   {"hi", kGt},   {"hs", kGe},   {"equ", kEqu}, {"neu", kNeu},
        {"ltu", kLtu}, {"leu", kLeu}, {"gtu", kGtu}, {"geu", kGeu}, {"num", kNum}, {"nan", kNan}};
    i_.mode = uint8_t(names.at(words_.at(1)));
    i_.second = has("and") ? kJoinedAnd : has("or") ? kJoinedOr : has("xor") ? kJoinedXor : kNotJoined;
    const Type t = i_.type;
    return set(is_float(t) ? by_float(t, PTX_EACH(run_compare)) : by_sign(t, PTX_EACH(run_compare)), kCompare);
  }

  bool convert() {
    i_.mode = has("rz") || has("rzi")   ? kZero
              : has("rm") || has("rmi") ? kDown
              : has("rp") || has("rpi") ? kUp
                                        : kNearest;
    const bool whole = has("rni") || has("rzi") || has("rmi") || has("rpi");
    if (is_float(i_.type) && (i_.type != i_.from) && i_.mode != kNearest)
      throw std::runtime_error("this rounding is not interpreted");
    if (is_float(i_.type) && i_.type == i_.from && !whole) return set(run1<Copy, uint64_t>, kMove);
    const bool moves = !is_float(i_.type) && !is_float(i_.from);
    return set(run_convert, moves ? kMove : kConvert);
  }
};

}  // namespace ptx
