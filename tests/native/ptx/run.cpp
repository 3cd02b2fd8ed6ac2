// The machine's loop: which lanes go on, and what an instruction does to registers and memory.
#include "machine.h"

namespace ptx {

void Machine::run(const Launch& launch) {
  const auto found = program.kernels.find(launch.kernel);
  if (found == program.kernels.end()) throw std::runtime_error("the PTX has no kernel " + launch.kernel);
  function_ = &found->second;
  launch_ = launch;
  if (launch.threads % kLanes || launch.threads > 1024) throw std::runtime_error("a block of that many threads");
  if (launch.cluster > 16 || launch.blocks % launch.cluster) throw std::runtime_error("clusters must fill the grid");
  if (launch.arguments.size() != function_->parameters.size()) throw std::runtime_error("the number of arguments");
  parameters_.assign(4096, 0);
  for (size_t j = 0; j < launch.arguments.size(); ++j) {
    const Parameter& p = function_->parameters[j];
    if (int(launch.arguments[j].size()) != p.size) throw std::runtime_error("the size of an argument");
    std::copy(launch.arguments[j].begin(), launch.arguments[j].end(), parameters_.begin() + p.offset);
  }
  for (const auto& [_, variable] : program.variables)
    memory.name(reinterpret_cast<uint64_t>(variable->bytes.data()), variable->bytes.size(), true);
  random_.seed(launch.seed);
  shadow_.clear();
  published_.clear();
  costs.start(launch.kernel, launch.blocks);
  if (costs.on) ++costs.kernels[launch.kernel].launches;
  std::vector<unsigned> order(launch.blocks / launch.cluster);
  for (unsigned j = 0; j < order.size(); ++j) order[j] = launch.seed == 1 ? unsigned(order.size()) - 1 - j : j;
  if (launch.seed > 1) std::shuffle(order.begin(), order.end(), random_);
  for (const unsigned cluster : order) {
    start(cluster);
    run_cluster();
    if (!costs.on) continue;
    for (unsigned rank = 0; rank < launch.cluster; ++rank) {
      double time = 0;
      for (const Warp& w : warps_)
        if (w.rank == rank) time = std::max({time, w.cost.time, w.cost.last});
      costs.finish(cluster * launch.cluster + rank, time);
    }
  }
}

void Machine::start(unsigned cluster) {
  const unsigned per_block = warps_of_block();
  warps_.resize(size_t(per_block) * launch_.cluster);
  shadow_.clear(kSharedWindow);
  memory.share(launch_.cluster, launch_.shared + aligned(function_->fixed_shared, 16));
  barriers_.assign(16 * launch_.cluster, {});
  cluster_barrier_ = {};
  cluster_known_ = nullptr;
  cluster_phase_ = 0;
  for (unsigned j = 0; j < warps_.size(); ++j) {
    Warp& w = warps_[j];
    w.rank = j / per_block;
    w.index = j % per_block;
    w.block = cluster * launch_.cluster + w.rank;
    w.clock = 1;
    for (Lane& lane : w.lanes) {
      lane = Lane();
      lane.pc = function_->begin;
    }
    w.storage.resize(size_t(function_->registers) * kLanes);
    w.r = reinterpret_cast<Registers>(w.storage.data());
    if (costs.on) w.cost = {std::vector<double>(function_->registers), 0, 0};
    preset(w);
  }
}

void Machine::preset(Warp& w) {
  for (const Preset& p : function_->presets) {
    const auto value = [&](unsigned k) -> uint64_t {
      switch (p.special) {
        case kThread: return w.index * kLanes + k;
        case kThreads: return launch_.threads;
        case kBlock: return w.block;
        case kBlocks: return launch_.blocks;
        case kLane: return k;
        case kLanesBelow: return (1u << k) - 1;
        case kRank: return w.rank;
        case kRanks: return launch_.cluster;
        case kCluster: return w.block / launch_.cluster;
        case kClusters: return launch_.blocks / launch_.cluster;
        case kSharedAddress: return (uint64_t(w.rank + 1) << kRankShift) + p.value;
        default: return p.value;
      }
    };
    for (unsigned k = 0; k < kLanes; ++k) w.r[p.reg][k] = value(k);
  }
}

void Machine::run_cluster() {
  const unsigned seed = launch_.seed;
  std::vector<unsigned> ready;
  for (;;) {
    ready.clear();
    bool done = true;
    for (unsigned j = 0; j < warps_.size(); ++j) {
      if (warps_[j].in(kReady)) ready.push_back(j);
      done = done && warps_[j].in(kDone) == kAll;
    }
    if (done) return;
    if (ready.empty()) explain_deadlock();
    if (seed < 2) {
      run_warp(warps_[seed ? ready.back() : ready.front()], ~0u, kAll);
      continue;
    }
    const uint32_t style = random_() % 3, some = random_();
    const uint32_t chosen = style == 0 ? kAll : style == 1 ? some : 1u << some % kLanes;
    run_warp(warps_[ready[random_() % ready.size()]], random_() % (random_() % 8 ? 100 : 4000) + 1, chosen);
  }
}

// Lanes among the chosen go on, while there are any; the lowest pc first.
void Machine::run_warp(Warp& w, unsigned quantum, uint32_t chosen) {
  while (quantum) {
    const uint32_t ready = w.in(kReady), wanted = ready & chosen ? ready & chosen : ready;
    if (!ready) return;
    int pc = INT32_MAX, stop = INT32_MAX;
    for_lanes(wanted, [&](int k) { pc = std::min(pc, w.lanes[k].pc); });
    uint32_t mask = 0;
    for_lanes(wanted, [&](int k) {
      if (w.lanes[k].pc == pc) {
        mask |= 1u << k;
      } else {
        stop = std::min(stop, w.lanes[k].pc);
      }
    });
    if (!run_straight(w, mask, pc, stop, quantum)) meet(w);
  }
}

// Instructions in a row; false when lanes have come to wait.
bool Machine::run_straight(Warp& w, uint32_t mask, int pc, int stop, unsigned& quantum) {
  static const Touched nothing;
  for (; pc != stop && quantum; --quantum, ++pc) {
    const Instruction& i = program.code[pc];
    if (costs.on && i.kind != kLoad && i.kind != kStore && i.kind != kAtomic)
      costs.step(w.cost, w.block, w.index, i, nothing);
    if (i.kind == kPlain) {
      const uint32_t active = passing(w, i, mask);
      if (active) i.run(w.r, i, active);
    } else if (i.kind <= kAtomic) {
      access(w, i, passing(w, i, mask), pc);
    } else if (i.kind == kFence) {
      fence(w, passing(w, i, mask));
    } else if (i.kind == kBranch || i.kind == kCall || i.kind == kReturn) {
      --quantum;
      branch(w, i, mask, pc);
      return true;
    } else if (i.kind != kNothing) {
      --quantum;
      for_lanes(mask, [&](int k) { w.lanes[k].pc = pc; });
      wait(w, i, mask, pc);
      return false;
    }
  }
  for_lanes(mask, [&](int k) { w.lanes[k].pc = pc; });
  return true;
}

void Machine::branch(Warp& w, const Instruction& i, uint32_t mask, int pc) {
  for_lanes(mask, [&](int k) {
    Lane& lane = w.lanes[k];
    if (!passes(w, i, k)) {
      lane.pc = pc + 1;
    } else if (i.kind == kReturn) {
      if (i.base < 0) {
        lane.state = kDone;
      } else {
        lane.pc = int(w.r[i.base][k]);
      }
    } else {
      if (i.kind == kCall) w.r[i.base][k] = pc + 1;
      lane.pc = i.target;
    }
  });
}

}  // namespace ptx
