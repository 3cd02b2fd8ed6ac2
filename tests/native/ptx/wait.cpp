// Where lanes wait for one another: barriers of a block, of a warp and of a cluster, and exchanges within a warp.
#include "machine.h"

namespace ptx {

void Machine::wait(Warp& w, const Instruction& i, uint32_t mask, int pc) {
  const uint32_t passing = this->passing(w, i, mask);
  for_lanes(mask & ~passing, [&](int k) { ++w.lanes[k].pc; });
  const auto enter = [&](State state) { for_lanes(passing, [&](int k) { w.lanes[k].state = state; }); };
  if (!passing) return;
  if (i.kind == kBarrier) {
    enter(kAtBarrier);
    if (w.in(kAtBarrier) == kAll) arrive(w, i, pc);
  } else if (i.kind == kClusterArrive) {
    arrive_cluster(w, i, passing, pc);
  } else if (i.kind == kClusterWait) {
    enter(kAtCluster);
    open_cluster();
  } else {
    enter(kAtWarp);
  }
}

// The last lane of a warp has come to a barrier of the block.
void Machine::arrive(Warp& w, const Instruction& i, int pc) {
  for (const Lane& lane : w.lanes)
    if (lane.pc != pc) fail("lanes of one warp wait at different barriers: " + program.where(lane.pc) + " and one", pc);
  const unsigned id = unsigned(w.r[i.base][0]);
  if (id > 15) fail("a block has 16 barriers, and none of this number", pc);
  Barrier& b = barriers_[w.rank * 16 + id];
  const unsigned expected = i.target < 0 ? launch_.threads : unsigned(w.r[i.target][0]);
  if (expected % kLanes || expected > launch_.threads) fail("a barrier of a number of threads that cannot come", pc);
  if (b.arrived && b.expected != expected) fail("warps came to one barrier with different numbers of threads", pc);
  b.expected = expected;
  b.arrived += kLanes;
  if (watches) {
    b.gathered = joined(b.gathered, release(w, kAll));
    ++w.clock;
  }
  if (i.mode) for_lanes(kAll, [&](int k) { b.reduced += int(w.r[i.of[0]][k] & 1); });
  if (costs.on) b.time = std::max({b.time, w.cost.time, w.cost.last});
  if (i.second) {  // it only arrives
    for (Lane& lane : w.lanes) {
      lane.state = kReady;
      ++lane.pc;
    }
  }
  if (b.arrived == b.expected) open(w.rank, b, id);
}

void Machine::open(unsigned rank, Barrier& barrier, unsigned id) {
  const Barrier b = std::exchange(barrier, {});
  const bool whole = b.expected == launch_.threads;
  const unsigned block = warps_[rank * warps_of_block()].block;
  double time = b.time;
  if (costs.on && whole) {
    time = std::max(time, costs.block(block).busiest());
    costs.block(block).close(time);
  }
  for (unsigned j = 0; j < warps_of_block(); ++j) {
    Warp& w = warps_[rank * warps_of_block() + j];
    const Instruction& i = program.code[w.lanes[0].pc];
    if (w.in(kAtBarrier) != kAll || w.r[i.base][0] != id) continue;
    const uint64_t result = i.mode == kAnyOf   ? b.reduced > 0
                            : i.mode == kAllOf ? b.reduced == int(b.expected)
                                               : unsigned(b.reduced);
    for (int k = 0; k < kLanes; ++k) {
      Lane& lane = w.lanes[k];
      if (i.mode) w.r[i.to[0]][k] = result;
      if (watches) lane.known = b.gathered;
      lane.state = kReady;
      ++lane.pc;
    }
    w.cost.time = time + kBarrierLatency;
  }
}

void Machine::arrive_cluster(Warp& w, const Instruction& i, uint32_t mask, int pc) {
  for_lanes(mask, [&](int k) {
    if (w.lanes[k].arrived != cluster_phase_) fail("a thread arrives twice at the cluster's barrier", pc);
    ++w.lanes[k].arrived;
    ++w.lanes[k].pc;
  });
  Barrier& b = cluster_barrier_;
  b.arrived += __builtin_popcount(mask);
  if (watches && i.releases) {
    b.gathered = joined(b.gathered, release(w, mask));
    ++w.clock;
  }
  b.time = std::max({b.time, w.cost.time, w.cost.last});
  if (b.arrived < launch_.threads * launch_.cluster) return;
  ++cluster_phase_;
  cluster_known_ = b.gathered;
  const double time = b.time + kClusterLatency;
  b = {};
  for (Warp& each : warps_) each.cost.time = std::max(each.cost.time, time);
  open_cluster();
}

void Machine::open_cluster() {
  for (Warp& w : warps_) {
    for_lanes(w.in(kAtCluster), [&](int k) {
      Lane& lane = w.lanes[k];
      if (lane.arrived > cluster_phase_) return;
      if (watches) lane.known = joined(lane.known, cluster_known_);
      lane.state = kReady;
      ++lane.pc;
    });
  }
}

// Lets go the lanes of a warp that all wait for one another.
void Machine::meet(Warp& w) {
  const uint32_t waiting = w.in(kAtWarp);
  for (uint32_t left = waiting; left;) {
    const int first = __builtin_ctz(left);
    const int pc = w.lanes[first].pc;
    const Instruction& i = program.code[pc];
    const uint32_t mask = uint32_t(w.r[i.base][first]);
    left &= ~(mask | 1u << first);
    if (!(mask >> first & 1)) fail("a lane waits with a mask that leaves it out", pc);
    if (mask & w.in(kDone)) fail("a lane named in a mask has exited", pc);
    if (mask & w.in(kAtBarrier)) fail("a lane named in a mask waits at a barrier of the block", pc);
    if (mask & ~waiting) continue;
    for_lanes(mask, [&](int k) {
      const Instruction& other = program.code[w.lanes[k].pc];
      if (other.kind != i.kind || (i.kind != kWarpBarrier && w.lanes[k].pc != pc))
        fail("lanes that wait for one another are at " + program.where(w.lanes[k].pc) + " and", pc);
      if (uint32_t(w.r[other.base][k]) != mask) fail("lanes that wait for one another name different masks", pc);
    });
    if (i.kind != kWarpBarrier) {
      exchange(w, i, mask);
    } else if (watches) {
      const Known known = release(w, mask);
      ++w.clock;
      for_lanes(mask, [&](int k) { w.lanes[k].known = known; });
    }
    for_lanes(mask, [&](int k) {
      w.lanes[k].state = kReady;
      ++w.lanes[k].pc;
    });
  }
}

void Machine::exchange(Warp& w, const Instruction& i, uint32_t mask) {
  uint64_t shown[kLanes], found[kLanes] = {};
  bool inside[kLanes] = {};
  const uint64_t bits = bits_below(i.kind == kVote ? 1 : 8 * size_of(i.type));
  uint32_t held = 0;
  for_lanes(mask, [&](int k) {
    shown[k] = w.r[i.of[0]][k] & bits;
    held |= uint32_t(shown[k] & 1) << k;
  });
  for_lanes(mask, [&](int k) {
    if (i.kind == kShuffle) {
      const int by = int(w.r[i.of[1]][k] & 31), limits = int(w.r[i.of[2]][k]), segment = limits >> 8 & 31;
      const int lowest = k & segment, highest = lowest | (limits & 31 & ~segment);
      const int from = i.mode == kButterfly   ? k ^ by
                       : i.mode == kIndexed   ? lowest | (by & ~segment)
                       : i.mode == kFromBelow ? k - by
                                              : k + by;
      inside[k] = i.mode == kFromBelow ? from >= highest : from <= highest;
      found[k] = shown[inside[k] ? from : k];
      if (inside[k] && !(mask >> from & 1)) fail("a lane reads from one that the mask leaves out", w.lanes[k].pc);
    } else if (i.kind == kVote) {
      found[k] = i.mode == kBallot ? held : i.mode == kAnyOf ? held != 0 : held == mask;
    } else if (i.kind == kMatch) {
      for_lanes(mask, [&](int j) { found[k] |= uint64_t(shown[j] == shown[k]) << j; });
    } else {
      const int first = __builtin_ctz(mask);
      uint64_t all = shown[first];
      for_lanes(mask & ~(1u << first), [&](int j) { all = combined_as(i.type, i.mode, all, shown[j], 0); });
      found[k] = all;
    }
  });
  for_lanes(mask, [&](int k) {
    if (i.to[0] >= 0) w.r[i.to[0]][k] = found[k];
    if (i.outputs == 2 && i.to[1] >= 0) w.r[i.to[1]][k] = inside[k];
  });
}

void Machine::explain_deadlock() const {
  for (const Warp& w : warps_) {
    for (const Lane& lane : w.lanes) {
      if (lane.state == kDone) continue;
      const uint32_t done = w.in(kDone), at_warp = w.in(kAtWarp);
      fail(at_warp && at_warp != kAll ? "lanes wait for others of their warp that never come"
           : done                     ? "threads wait at a barrier that others of their warp, now exited, never reach"
           : lane.state == kAtCluster ? "threads wait at the cluster's barrier, which others never reach"
                                      : "threads wait at a barrier that others never reach",
           lane.pc);
    }
  }
  std::abort();
}

}  // namespace ptx
