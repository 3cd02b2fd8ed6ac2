// Who knows what has happened: vector clocks of threads, and the shadow of memory in which accesses are compared.
//
// A warp's clock ticks whenever lanes of it synchronise. A thread knows, of every thread it has heard of, the clock up
// to which that one's accesses happened before. Two accesses of one place, one of them a write and not both atomic, of
// which neither happened before the other, are a race, whatever order they ran in.
#pragma once

#include <algorithm>
#include <unordered_map>

#include "program.h"

namespace ptx {

// By block, the clock of each of its threads. Shared between threads, so it never changes.
using Clocks = std::map<uint32_t, std::vector<uint32_t>>;
using Known = std::shared_ptr<const Clocks>;

inline void add_clocks(Clocks& to, const Clocks& from) {
  for (const auto& [block, clocks] : from) {
    std::vector<uint32_t>& mine = to[block];
    if (mine.size() < clocks.size()) mine.resize(clocks.size());
    for (size_t j = 0; j < clocks.size(); ++j) mine[j] = std::max(mine[j], clocks[j]);
  }
}

inline Known joined(const Known& a, const Known& b) {
  if (!a || !b || a == b) return a ? a : b;
  auto out = std::make_shared<Clocks>(*a);
  add_clocks(*out, *b);
  return out;
}

struct Thread {  // who accesses: the thread's number in its block, and what it knows
  uint32_t block, number, clock;
  const Clocks* known;
  bool knows(uint32_t other_block, uint32_t other, uint32_t other_clock) const {
    if (other_block == block && other == number) return true;
    if (!known) return false;
    const auto found = known->find(other_block);
    return found != known->end() && other < found->second.size() && found->second[other] >= other_clock;
  }
};

struct Write {
  uint32_t block = 0, thread = 0, clock = 0;  // clock 0: none
  int pc = 0;
};

struct Reads {  // of lanes of one warp at one time; of atomics too, which are kept as reads that reads may race with
  uint32_t block, warp, clock, lanes;
  int pc;
  bool atomic;

  bool known_to(const Thread& t) const {
    for (uint32_t m = lanes; m; m &= m - 1)
      if (!t.knows(block, warp * kLanes + __builtin_ctz(m), clock)) return false;
    return true;
  }
};

struct Cell {  // of a word, or of a byte where bytes are accessed one by one
  Write write;
  std::vector<Reads> reads;
};

struct Race {
  bool found = false;
  int pc = 0;
  bool wrote = false;
};

class Shadow {
 public:
  void clear(uint64_t from = 0) {  // what lies at addresses from there on
    for (auto page = pages_.begin(); page != pages_.end();)
      page = page->first * kPage >= from ? pages_.erase(page) : std::next(page);
    last_ = ~0ull;
  }

  Race access(uint64_t address, int size, bool writes, bool atomic, const Thread& t, int pc) {
    Race race;
    for (const uint64_t end = address + size; address < end && !race.found;) {
      Page& page = page_of(address);
      if ((size < 4 || address % 4) && page.grain == 4) divide(page);
      race = meet(page.cells[address % kPage / page.grain], writes, atomic, t, pc);
      address += page.grain;
    }
    return race;
  }

 private:
  static constexpr uint64_t kPage = 256;
  struct Page {
    int grain = 4;
    std::vector<Cell> cells{kPage / 4};
  };
  std::unordered_map<uint64_t, Page> pages_;
  uint64_t last_ = ~0ull;
  Page* last_page_ = nullptr;

  Page& page_of(uint64_t address) {
    if (address / kPage != last_) {
      last_ = address / kPage;
      last_page_ = &pages_[last_];
    }
    return *last_page_;
  }

  static void divide(Page& page) {
    std::vector<Cell> bytes(kPage);
    for (uint64_t j = 0; j < kPage; ++j) bytes[j] = page.cells[j / 4];
    page.cells = std::move(bytes);
    page.grain = 1;
  }

  static Race meet(Cell& cell, bool writes, bool atomic, const Thread& t, int pc) {
    const Write& w = cell.write;
    if (w.clock && !t.knows(w.block, w.thread, w.clock)) return {true, w.pc, true};
    const bool plain_read = !writes && !atomic;
    for (const Reads& r : cell.reads) {
      if (plain_read ? !r.atomic : atomic && r.atomic) continue;
      if (!r.known_to(t)) return {true, r.pc, r.atomic};
    }
    if (writes && !atomic) {
      cell.write = {t.block, t.number, t.clock, pc};
      cell.reads.clear();
    } else {
      note(cell.reads, atomic, t, pc);
    }
    return {};
  }

  // Reads that happened before this one say nothing that this one does not.
  static void note(std::vector<Reads>& reads, bool atomic, const Thread& t, int pc) {
    const uint32_t warp = t.number / kLanes, lane = 1u << t.number % kLanes;
    for (size_t j = reads.size(); j-- > 0;) {
      Reads& r = reads[j];
      if (r.block != t.block || r.warp != warp || r.clock != t.clock || r.atomic != atomic) continue;
      r.lanes |= lane;
      return;
    }
    reads.erase(
        std::remove_if(reads.begin(), reads.end(), [&](const Reads& r) { return r.atomic == atomic && r.known_to(t); }),
        reads.end());
    reads.push_back({t.block, warp, t.clock, lane, pc, atomic});
  }
};

}  // namespace ptx
