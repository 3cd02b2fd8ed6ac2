// Memory that a kernel may touch: regions of global memory that the host named, and the shared memory of the blocks of
// one cluster. Every access is checked for bounds, alignment, and, where nothing was written before, for being a write.
#pragma once

#include <cstring>

#include "program.h"

namespace ptx {

struct Region {
  uint64_t begin = 0, size = 0;
  std::vector<bool> written;  // by byte; empty where all is
};

class Memory {
 public:
  Region* find(uint64_t address) {
    if (last_ && address - last_->begin < last_->size) return last_;
    auto next = regions_.upper_bound(address);
    if (next == regions_.begin()) return nullptr;
    last_ = &(--next)->second;
    return address - last_->begin < last_->size ? last_ : nullptr;
  }

  // Of two that overlap, as views of one tensor do, the union.
  void name(uint64_t begin, uint64_t size, bool written) {
    if (size == 0) return;
    last_ = nullptr;
    uint64_t end = begin + size;
    auto it = regions_.upper_bound(begin);
    if (it != regions_.begin() && std::prev(it)->second.begin + std::prev(it)->second.size > begin) --it;
    while (it != regions_.end() && it->first < end) {
      begin = std::min(begin, it->first);
      end = std::max(end, it->first + it->second.size);
      it = regions_.erase(it);
    }
    regions_[begin] = {begin, end - begin, std::vector<bool>(written ? 0 : size)};
  }

  void forget() {
    regions_.clear();
    last_ = nullptr;
  }

  // Shared memory of `ranks` blocks of `size` bytes, nothing of it written.
  void share(unsigned ranks, uint64_t size) {
    shared_.resize(ranks);
    for (Shared& s : shared_) {
      s.bytes.assign(size, 0xFF);
      s.written.assign(size, false);
    }
  }

  struct Place {
    unsigned char* bytes = nullptr;
    uint64_t address = 0;  // as the shadow knows it: of shared memory within its window
    int rank = -1;         // of the block whose shared memory it is; -1 of global memory
    const char* wrong = nullptr;
  };

  // Where `size` bytes at an address of a space lie, and what is wrong with accessing them.
  Place place(Space space, uint64_t address, int size, bool writes, bool reads) {
    Place p;
    p.address = space == kShared ? kSharedWindow | uint32_t(address) : address;
    if (p.address % size) return p.wrong = "a misaligned access", p;
    if (p.address >> 32 == kSharedWindow >> 32) {
      p.rank = int(p.address >> kRankShift & 0xFF) - 1;
      const uint64_t at = p.address & ((1u << kRankShift) - 1);
      if (p.rank < 0 || p.rank >= int(shared_.size())) return p.wrong = "an address of no block's shared memory", p;
      Shared& s = shared_[p.rank];
      if (at + size > s.bytes.size()) return p.wrong = "an access beyond the block's shared memory", p;
      p.bytes = &s.bytes[at];
      if (reads && !all_written(s.written, at, size)) p.wrong = "shared memory read before anything wrote it";
      for (int j = 0; writes && j < size; ++j) s.written[at + j] = true;
      return p;
    }
    Region* r = find(p.address);
    if (!r || p.address + size > r->begin + r->size) return p.wrong = "an access beyond every tensor", p;
    p.bytes = reinterpret_cast<unsigned char*>(p.address);
    if (r->written.empty()) return p;
    const uint64_t at = p.address - r->begin;
    if (reads && !all_written(r->written, at, size)) p.wrong = "scratch memory read before anything wrote it";
    for (int j = 0; writes && j < size; ++j) r->written[at + j] = true;
    return p;
  }

 private:
  struct Shared {
    std::vector<unsigned char> bytes;
    std::vector<bool> written;
  };
  std::map<uint64_t, Region> regions_;
  Region* last_ = nullptr;
  std::vector<Shared> shared_;

  static bool all_written(const std::vector<bool>& written, uint64_t at, int size) {
    for (int j = 0; j < size; ++j)
      if (!written[at + j]) return false;
    return true;
  }
};

// What an atomic leaves of an old value and its operands; a reduction of lanes too.
template <class T>
T combined(int operation, T old, T value, T swap) {
  switch (operation) {
    case kSum: return T(old + value);
    case kExchanged: return value;
    case kSwapped: return old == value ? swap : old;
    case kLowest: return value < old ? value : old;
    case kHighest: return value > old ? value : old;
    default: break;
  }
  if constexpr (std::is_integral_v<T>)
    return operation == kBitsAnd ? T(old & value) : operation == kBitsOr ? T(old | value) : T(old ^ value);
  throw std::runtime_error("this operation is not one of floats");
}

template <class T>
uint64_t combined_bits(int operation, uint64_t old, uint64_t value, uint64_t swap) {
  T a, b, c;
  std::memcpy(&a, &old, sizeof a);
  std::memcpy(&b, &value, sizeof b);
  std::memcpy(&c, &swap, sizeof c);
  const T out = combined(operation, a, b, c);
  uint64_t bits = 0;
  std::memcpy(&bits, &out, sizeof out);
  return bits;
}

inline uint64_t combined_as(Type t, int operation, uint64_t old, uint64_t value, uint64_t swap) {
  switch (t) {
    case kU32: return combined_bits<uint32_t>(operation, old, value, swap);
    case kS32: return combined_bits<int32_t>(operation, old, value, swap);
    case kU64: return combined_bits<uint64_t>(operation, old, value, swap);
    case kS64: return combined_bits<int64_t>(operation, old, value, swap);
    case kF32: return combined_bits<float>(operation, old, value, swap);
    case kF64: return combined_bits<double>(operation, old, value, swap);
    default: throw std::runtime_error("no atomic of this type");
  }
}

}  // namespace ptx
