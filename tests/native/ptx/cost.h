// What a kernel costs by a model: its instructions by class and by interval between the block's barriers, and the time
// of its slowest block, in cycles of one multiprocessor.
//
// A register is ready when what it depends on was ready, plus a latency; branches and barriers make a warp wait for
// what they need, nothing else does, as if each basic block were scheduled perfectly. Between two barriers of the
// block, time is the longest such chain of a warp, or what the busiest of four schedulers has to issue, whichever is
// longer. Moves, parameters and immediates are free, as they become operands. It knows no caches but what the block
// touched before, no instruction fetch, and nothing of other blocks on the multiprocessor; ptxas's own instructions it
// does not see.
#pragma once

#include <array>
#include <set>

#include "program.h"

namespace ptx {

struct Latency {
  double latency, issue;  // cycles until the result is ready; cycles of the scheduler, for a warp
};

// Of an H100 as microbenchmarks give them (arXiv 2402.13499), rounded.
constexpr Latency kLatencies[kClasses] = {{4.5, 1}, {5, 2}, {60, 40}, {4.5, 1}, {40, 12}, {8, 2},  {110, 30},
                                          {8, 4},   {0, 0}, {6, 1},   {5, 2},   {270, 4}, {4, 4},  {24, 2},
                                          {4, 2},   {0, 0}, {400, 4}, {2, 1},   {8, 1},   {23, 2}, {40, 16}};
constexpr double kCached = 33, kBarrierLatency = 20, kClusterLatency = 180, kConflict = 2, kSector = 0.5;

using Counts = std::array<uint64_t, kClasses>;

struct Interval {  // between barriers of the whole block
  double cycles = 0;
  Counts counts{};
};

struct Touched {  // by one instruction of a warp
  std::vector<uint64_t> words;
  bool shared = false;
};

struct WarpCost {
  std::vector<double> ready;  // by register
  double time = 0, last = 0;  // of control; of the last result
};

struct BlockCost {
  double begin = 0, issued[4] = {};
  Interval now;
  std::vector<Interval> intervals;
  std::set<uint64_t> sectors;  // touched so far

  void close(double time) {
    now.cycles = time - begin;
    intervals.push_back(now);
    now = {};
    begin = time;
    for (double& each : issued) each = 0;
  }
  double busiest() const { return begin + *std::max_element(issued, issued + 4); }
};

struct KernelCost {
  uint64_t launches = 0, blocks = 0, instructions = 0, conflicts = 0, sectors = 0;
  double cycles = 0;                // of the slowest block of any launch
  std::vector<Interval> intervals;  // of that block
};

class Costs {
 public:
  bool on = false;
  std::map<std::string, KernelCost> kernels;

  void start(const std::string& kernel, unsigned blocks) {
    kernel_ = on ? &kernels[kernel] : nullptr;
    blocks_.assign(on ? blocks : 0, {});
    if (kernel_) kernel_->blocks += blocks;
  }

  // One instruction of a warp of the block `rank`: `touched` where it was to memory.
  void step(WarpCost& w, unsigned rank, unsigned warp, const Instruction& i, const Touched& touched) {
    BlockCost& block = blocks_[rank];
    ++block.now.counts[i.cost];
    ++kernel_->instructions;
    Latency cost = kLatencies[i.cost];
    if (!touched.words.empty()) memory(block, touched, cost);
    double start = w.time;
    const auto needs = [&](int reg) { start = reg < 0 ? start : std::max(start, w.ready[reg]); };
    for (int j = 0; j < i.inputs; ++j) needs(i.of[j]);
    needs(i.guard);
    if (i.kind != kBranch && i.kind != kCall) needs(i.base);
    const bool waits = i.kind != kPlain && i.kind != kLoad && i.kind != kStore && i.kind != kAtomic;
    if (waits && i.kind != kBranch && i.kind != kCall && i.kind != kReturn) start = std::max(start, w.last);
    for (int j = 0; j < i.outputs; ++j)
      if (i.to[j] >= 0) w.ready[i.to[j]] = start + cost.latency;
    block.issued[warp % 4] += cost.issue;
    if (cost.issue > 0) w.time += 1;
    if (waits) w.time = std::max(w.time, start + cost.latency);
    if (i.kind == kStore) w.last = std::max(w.last, start + 1);
  }

  BlockCost& block(unsigned rank) { return blocks_[rank]; }

  void finish(unsigned rank, double time) {
    BlockCost& block = blocks_[rank];
    block.close(std::max(time, block.busiest()));
    if (block.begin <= kernel_->cycles) return;
    kernel_->cycles = block.begin;
    kernel_->intervals = block.intervals;
  }

 private:
  KernelCost* kernel_ = nullptr;
  std::vector<BlockCost> blocks_;

  void memory(BlockCost& block, const Touched& touched, Latency& cost) {
    if (touched.shared) {  // lanes that want other words of one bank wait for one another
      const std::set<uint64_t> words(touched.words.begin(), touched.words.end());
      int banks[32] = {}, most = 1;
      for (const uint64_t word : words) most = std::max(most, ++banks[word % 32]);
      const int least = std::max(1, int(words.size() + 31) / 32);
      kernel_->conflicts += most - least;
      cost = {std::max(kLatencies[kLoadShared].latency, cost.latency < kCached ? cost.latency : 0), 2};
      cost.latency += kConflict * (most - least);
      cost.issue += kConflict * (most - least);
      return;
    }
    std::set<uint64_t> sectors;
    for (const uint64_t word : touched.words) sectors.insert(word / 8);
    bool seen = true;
    for (const uint64_t sector : sectors) seen = !block.sectors.insert(sector).second && seen;
    kernel_->sectors += sectors.size();
    if (seen && cost.latency == kLatencies[kLoadGlobal].latency) cost.latency = kCached;
    if (sectors.size() > 4) cost.issue += kSector * double(sectors.size() - 4);
  }
};

}  // namespace ptx
