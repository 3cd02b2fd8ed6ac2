// Runs kernels: threads with a pc each, in warps, blocks and clusters, under schedules as unfair as a seed makes them.
//
// Seed 0 runs warps in order, seed 1 in reverse, both in lockstep: of a warp the lanes at the lowest pc go on together.
// Any other seed lets a warp run for a random while, all of its lanes, some of them, or one alone. Clusters run one
// after another, in an order that the seed picks; the blocks of one run side by side.
#pragma once

#include <functional>
#include <random>
#include <utility>

#include "clocks.h"
#include "cost.h"
#include "memory.h"

namespace ptx {

enum State : uint8_t { kReady, kAtBarrier, kAtWarp, kAtCluster, kDone };

struct Lane {
  int pc = 0;
  State state = kReady;
  Known known, released, heard;  // `released` by its last fence; `heard` from atomics, known after the next fence
  uint64_t arrived = 0;          // cluster barriers it has arrived at
};

struct Warp {
  std::vector<uint64_t> storage;
  Registers r = nullptr;
  unsigned block = 0, rank = 0, index = 0;  // index: of the warp in its block
  uint32_t clock = 1;
  Lane lanes[kLanes];
  WarpCost cost;
  uint32_t in(State state) const {
    uint32_t mask = 0;
    for (int k = 0; k < kLanes; ++k) mask |= uint32_t(lanes[k].state == state) << k;
    return mask;
  }
};

struct Barrier {
  unsigned arrived = 0, expected = 0;
  Known gathered;
  int reduced = 0;  // threads whose predicate holds
  double time = 0;
};

struct Launch {
  std::string kernel;
  unsigned blocks, threads, cluster = 1;
  size_t shared;
  unsigned seed;
  std::vector<std::vector<unsigned char>> arguments;
};

class Machine {
 public:
  Program program;
  Memory memory;
  bool watches = true;  // for races
  Costs costs;

  void run(const Launch& launch);

 private:
  const Function* function_ = nullptr;
  Launch launch_;
  std::vector<unsigned char> parameters_;
  std::vector<Warp> warps_;  // of the cluster: of its first block, of its second, ...
  std::vector<Barrier> barriers_;
  Barrier cluster_barrier_;
  Known cluster_known_;
  uint64_t cluster_phase_ = 0;
  Shadow shadow_;
  std::unordered_map<uint64_t, Known> published_;  // by atomics, at an address
  std::mt19937 random_;

  unsigned warps_of_block() const { return launch_.threads / kLanes; }
  [[noreturn]] void fail(const std::string& why, int pc) const {
    throw std::runtime_error(launch_.kernel + ": " + why + " at " + program.where(pc));
  }
  bool passes(const Warp& w, const Instruction& i, int lane) const {
    return i.guard < 0 || (w.r[i.guard][lane] & 1) != i.negated;
  }
  uint32_t passing(const Warp& w, const Instruction& i, uint32_t mask) const {
    uint32_t out = 0;
    if (i.guard < 0) return mask;
    for_lanes(mask, [&](int k) { out |= uint32_t(passes(w, i, k)) << k; });
    return out;
  }
  Thread thread_of(const Warp& w, int lane) const {
    return {w.block, w.index * kLanes + lane, w.clock, w.lanes[lane].known.get()};
  }

  void start(unsigned cluster);
  void preset(Warp& w);
  void run_cluster();
  void run_warp(Warp& w, unsigned quantum, uint32_t chosen);
  bool run_straight(Warp& w, uint32_t mask, int pc, int stop, unsigned& quantum);
  void branch(Warp& w, const Instruction& i, uint32_t mask, int pc);
  void access(Warp& w, const Instruction& i, uint32_t mask, int pc);
  void access_lane(Warp& w, const Instruction& i, int lane, int pc, Touched& touched);
  void watch(Warp& w, const Instruction& i, int lane, int pc, const Memory::Place& p, int size);
  void order(Warp& w, const Instruction& i, int lane, uint64_t address);
  void fence(Warp& w, uint32_t mask);
  Known release(const Warp& w, uint32_t mask) const;
  void wait(Warp& w, const Instruction& i, uint32_t mask, int pc);
  void arrive(Warp& w, const Instruction& i, int pc);
  void open(unsigned rank, Barrier& barrier, unsigned id);
  void arrive_cluster(Warp& w, const Instruction& i, uint32_t mask, int pc);
  void open_cluster();
  void meet(Warp& w);
  void exchange(Warp& w, const Instruction& i, uint32_t mask);
  void explain_deadlock() const;
};

}  // namespace ptx
