// A PTX text as the interpreter holds it: a list of instructions on numbered registers of 64 bits.
//
// Immediates and special registers are registers too, which a warp fills before it starts (`Preset`); so every
// operand of an instruction is a register. Parameters of device functions are registers, and a call is moves of its
// arguments, a jump that keeps the way back in a register, and a move of the result.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace ptx {

constexpr int kLanes = 32;
constexpr uint32_t kAll = 0xFFFFFFFFu;

// clang-format off
enum Type : uint8_t { kU8, kS8, kU16, kS16, kU32, kS32, kU64, kS64, kF16, kBf16, kF32, kF64, kPredicate, kNoType };
enum Kind : uint8_t {
  kPlain, kLoad, kStore, kAtomic, kFence, kBranch, kCall, kReturn, kNothing,
  kBarrier, kWarpBarrier, kShuffle, kMatch, kVote, kReduce, kClusterArrive, kClusterWait
};
enum Space : uint8_t { kGeneric, kGlobal, kShared, kParameter, kConstant };
enum Special : uint8_t {
  kNumber, kThread, kThreads, kBlock, kBlocks, kLane, kLanesBelow, kRank, kRanks, kCluster, kClusters, kSharedAddress
};
enum AtomicOperation : uint8_t { kSum, kExchanged, kSwapped, kLowest, kHighest, kBitsAnd, kBitsOr, kBitsXor };
enum Reduction : uint8_t { kNoReduction, kAnyOf, kAllOf, kHowMany, kBallot };
enum Shuffle : uint8_t { kButterfly, kIndexed, kFromBelow, kFromAbove };
// Of the cost model and of counts.
enum Class : uint8_t {
  kInteger, kMultiply, kDivide, kFloat, kFloatDivide, kDouble, kDoubleDivide, kConvert, kMove, kCompare, kJump,
  kLoadGlobal, kStoreGlobal, kLoadShared, kStoreShared, kLoadParameter, kAtom, kSync, kWarpSync, kExchange, kMatching,
  kClasses
};
// clang-format on
constexpr const char* kClassNames[kClasses] = {
    "integer",      "multiply",   "divide",  "float",   "float_divide", "double",       "double_divide",
    "convert",      "move",       "compare", "jump",    "load_global",  "store_global", "load_shared",
    "store_shared", "load_param", "atomic",  "barrier", "warp_barrier", "shuffle",      "match"};

constexpr int size_of(Type t) {
  constexpr int sizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 1, 0};
  return sizes[t];
}
constexpr bool is_float(Type t) { return t == kF16 || t == kBf16 || t == kF32 || t == kF64; }
constexpr bool is_signed(Type t) { return t == kS8 || t == kS16 || t == kS32 || t == kS64; }

// The 32-bit address of a block's shared memory holds the block's rank, plus one, above 24 bits; generic ones bit 60.
constexpr int kRankShift = 24;
constexpr uint64_t kSharedWindow = 1ull << 60;

using Registers = uint64_t (*)[kLanes];  // [register][lane]
struct Instruction;
using Run = void (*)(Registers, const Instruction&, uint32_t mask);

struct Instruction {
  Kind kind = kPlain;
  Class cost = kInteger;
  Space space = kGeneric;
  Type type = kNoType, from = kNoType;  // `from`: what a conversion takes
  uint8_t vector = 1;                   // elements of a load or store
  uint8_t mode = 0;                     // comparison, rounding, atomic or shuffle, by the kind
  uint8_t second = 0;                   // how a comparison joins a third operand; whether a barrier only arrives
  bool strong = false, acquires = false, releases = false, negated = false;
  int guard = -1, target = -1;
  int to[4] = {-1, -1, -1, -1}, outputs = 0;
  int of[6] = {-1, -1, -1, -1, -1, -1}, inputs = 0;
  int base = -1;  // register of an address
  int64_t offset = 0;
  Run run = nullptr;
  int file = 0, line = 0;
  std::string text;
};

struct Preset {
  Special special;
  uint64_t value;  // of a number; what is added to a shared address
  int reg;
};

struct Parameter {
  int size, offset;
};

struct Function {
  int begin = 0, registers = 0;
  std::vector<Preset> presets;
  std::vector<Parameter> parameters;  // of a kernel
  std::vector<int> arguments;         // of a device function: registers
  int result = -1, back = -1;         // of a device function: its value, and where it returns to
  int64_t fixed_shared = 0;           // bytes of shared arrays of known size
};

struct Variable {  // a module's constant or global memory
  std::vector<unsigned char> bytes;
};

struct Program {
  std::vector<Instruction> code;
  std::map<std::string, Function> kernels;
  std::map<std::string, std::unique_ptr<Variable>> variables;
  std::vector<std::string> files;  // names of sources

  std::string where(int pc) const {
    const Instruction& i = code[pc];
    const std::string file = i.file >= 0 && i.file < int(files.size()) ? files[i.file] : "";
    return file.substr(file.rfind('/') + 1) + ":" + std::to_string(i.line) + " `" + i.text + "`";
  }
};

template <class Use>
void for_lanes(uint32_t mask, const Use& use) {
  if (mask == kAll) {
    for (int k = 0; k < kLanes; ++k) use(k);
  } else {
    for (uint32_t m = mask; m; m &= m - 1) use(__builtin_ctz(m));
  }
}

inline uint64_t bits_below(int n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

// The register as a number of its type, widened to 64 bits with or without its sign.
inline uint64_t widened(uint64_t raw, Type t) {
  const int bits = 8 * size_of(t);
  raw &= bits_below(bits);
  return is_signed(t) && raw >> (bits - 1) & 1 ? raw | ~bits_below(bits) : raw;
}

inline int64_t aligned(int64_t at, int64_t to) { return (at + to - 1) / to * to; }

Program program_of(const std::vector<std::string>& texts);

}  // namespace ptx
