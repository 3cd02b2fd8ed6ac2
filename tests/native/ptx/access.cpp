// Loads, stores, atomics and fences of the machine.
#include "machine.h"

namespace ptx {

void Machine::access(Warp& w, const Instruction& i, uint32_t mask, int pc) {
  Touched touched;
  for_lanes(mask, [&](int k) { access_lane(w, i, k, pc, touched); });
  if (costs.on) costs.step(w.cost, w.block, w.index, i, touched);
}

void Machine::access_lane(Warp& w, const Instruction& i, int lane, int pc, Touched& touched) {
  const int each = size_of(i.type), size = each * i.vector;
  const uint64_t address = w.r[i.base][lane] + uint64_t(i.offset);
  const auto load = [&](const unsigned char* bytes) {
    for (int j = 0; j < i.vector; ++j) {
      if (j >= i.outputs || i.to[j] < 0) continue;
      uint64_t raw = 0;
      std::memcpy(&raw, bytes + j * each, each);
      w.r[i.to[j]][lane] = is_float(i.type) ? raw : widened(raw, i.type);
    }
  };
  if (i.space == kParameter) return load(&parameters_.at(address));
  const bool writes = i.kind != kLoad, reads = i.kind != kStore;
  const Memory::Place p = memory.place(i.space, address, size, writes, reads);
  if (p.wrong)
    fail(std::string(p.wrong) + " by thread " + std::to_string(w.index * kLanes + lane) + " of block " +
             std::to_string(w.block),
         pc);
  if (p.rank >= 0 && p.rank != int(w.rank)) {
    const Warp& owner = warps_[p.rank * warps_of_block()];
    bool exited = true;
    for (const Warp& other : warps_) exited = exited && (other.rank != owner.rank || other.in(kDone) == kAll);
    if (exited) fail("an access to the shared memory of a block that has exited", pc);
    if (watches && (!w.lanes[lane].known || !w.lanes[lane].known->count(owner.block)))
      fail("an access to the shared memory of a block that may not have started", pc);
  }
  if (costs.on) {
    touched.shared = p.rank >= 0;
    for (int j = 0; j < std::max(size / 4, 1); ++j) touched.words.push_back(p.address / 4 + j);
  }
  if (watches && i.space != kConstant) watch(w, i, lane, pc, p, size);
  if (i.kind == kLoad) return load(p.bytes);
  if (i.kind == kStore) {
    for (int j = 0; j < i.vector; ++j) std::memcpy(p.bytes + j * each, &w.r[i.of[j]][lane], each);
    return;
  }
  uint64_t old = 0;
  std::memcpy(&old, p.bytes, each);
  const uint64_t swap = i.inputs > 1 ? w.r[i.of[1]][lane] : 0;
  const uint64_t out = combined_as(i.type, i.mode, old, w.r[i.of[0]][lane], swap);
  std::memcpy(p.bytes, &out, each);
  if (i.outputs && i.to[0] >= 0) w.r[i.to[0]][lane] = widened(old, i.type);
}

void Machine::watch(Warp& w, const Instruction& i, int lane, int pc, const Memory::Place& p, int size) {
  if (i.strong) order(w, i, lane, p.address);
  const Race race = shadow_.access(p.address, size, i.kind != kLoad, i.strong, thread_of(w, lane), pc);
  if (!race.found) return;
  fail(std::string("a race between what ") + (race.wrote ? "wrote" : "read") + " at " + program.where(race.pc) +
           " and " + (i.kind == kLoad ? "a read" : "a write"),
       pc);
}

// What atomics carry from thread to thread: fences before the one that writes are known after fences of one that reads.
void Machine::order(Warp& w, const Instruction& i, int lane, uint64_t address) {
  Lane& me = w.lanes[lane];
  if (i.releases) fence(w, 1u << lane);
  Known& published = published_[address];
  if (i.kind != kStore) {
    me.heard = joined(me.heard, published);
    if (i.acquires) me.known = joined(me.known, me.heard);
  }
  if (i.kind == kLoad) return;
  published = i.kind == kStore ? me.released : joined(published, me.released);
}

void Machine::fence(Warp& w, uint32_t mask) {
  if (!watches) return;
  for_lanes(mask, [&](int k) {
    Lane& lane = w.lanes[k];
    lane.known = joined(lane.known, lane.heard);
    lane.released = release(w, 1u << k);
  });
  ++w.clock;
}

// What lanes know together, and what they have done.
Known Machine::release(const Warp& w, uint32_t mask) const {
  Known known;
  for_lanes(mask, [&](int k) { known = joined(known, w.lanes[k].known); });
  auto out = known ? std::make_shared<Clocks>(*known) : std::make_shared<Clocks>();
  std::vector<uint32_t>& mine = (*out)[w.block];
  mine.resize(launch_.threads);
  for_lanes(mask, [&](int k) { mine[w.index * kLanes + k] = w.clock; });
  return out;
}

}  // namespace ptx
