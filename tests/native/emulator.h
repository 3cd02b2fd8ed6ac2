// Runs the text of CUDA kernels on the CPU: a fiber for each thread, one block at a time.
//
// It is unfair on purpose. A seed picks which warp runs, from which lane, and which block is next; the
// warp then runs until all its lanes wait, so it may get as far ahead of the others as on a GPU.
// Barriers that not all threads reach, lanes missing from a mask and lanes that named different masks
// are errors. Shared memory is poisoned before every block.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "planted.h"

#define __global__
#define __device__
#define __launch_bounds__(...)
#define INX_SHARED(name) unsigned char* name = emulator::running->shared()
#define PLANT(name, right, wrong) (emulator::awake == planted::hash_of(#name) ? (wrong) : (right))

namespace emulator {

inline uint64_t awake = planted::hash_of("");

enum State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  State state;
  unsigned mask;   // of the warp barrier it waits at
  uint64_t offer;  // what it shows to its warp
};

struct Index {
  unsigned x;
};

class Launch {
 public:
  unsigned block, blocks, threads;

  Launch(unsigned blocks, unsigned threads, size_t shared, unsigned seed, std::function<void()> body)
      : blocks(blocks),
        threads(threads),
        fibers_(threads),
        shared_(shared + 64),
        random_(seed),
        seed_(seed),
        body_(std::move(body)) {
    for (Fiber& fiber : fibers_) fiber.stack.reset(new char[kStack]);
  }

  void run();
  void wait(State state, unsigned mask = 0) {
    Fiber& fiber = me();
    fiber.state = state;
    fiber.mask = mask;
    swapcontext(&fiber.context, &scheduler_);
    if (!error_.empty()) throw std::runtime_error(error_);
  }

  int offers() const {
    return int(std::count_if(fibers_.begin(), fibers_.end(), [](const Fiber& fiber) { return fiber.offer != 0; }));
  }
  unsigned thread() const { return current_; }
  Fiber& me() { return fibers_[current_]; }
  Fiber& lane(unsigned lane) { return fibers_[current_ / 32 * 32 + lane]; }
  unsigned char* shared() {
    return reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(shared_.data()) + 15) & ~uintptr_t(15));
  }

 private:
  static constexpr size_t kStack = 64 * 1024;
  static void enter();
  void run_block();
  unsigned choose(const std::vector<unsigned>& ready);
  void redraw_ranks();
  void run_warp(unsigned warp);
  void open_warp_barrier(unsigned warp);
  void fail(const char* why);
  void fail_or_open_block_barrier();

  std::vector<Fiber> fibers_;
  std::vector<unsigned char> shared_;
  std::mt19937 random_;
  unsigned seed_, current_ = 0;
  bool selfish_ = false;
  std::vector<unsigned> rank_;
  std::function<void()> body_;
  ucontext_t scheduler_;
  std::string error_;
};

inline Launch* running = nullptr;

inline void Launch::enter() {
  try {
    running->body_();
  } catch (const std::exception& e) {
    if (running->error_.empty()) running->error_ = e.what();
  }
  running->me().state = kDone;
  swapcontext(&running->me().context, &running->scheduler_);
}

inline void Launch::fail(const char* why) {
  error_ = why;
  for (Fiber& fiber : fibers_)
    if (fiber.state != kDone) fiber.state = kReady;  // each then leaves by the exception of wait()
}

inline void Launch::run_warp(unsigned warp) {
  const unsigned start = seed_ == 1 ? 31 : seed_ ? random_() % 32 : 0;
  for (unsigned j = 0; j < 32; ++j) {
    current_ = warp * 32 + (seed_ % 2 ? start + 32 - j : start + j) % 32;
    if (me().state == kReady) swapcontext(&scheduler_, &me().context);
  }
}

inline void Launch::open_warp_barrier(unsigned warp) {
  Fiber* lanes = &fibers_[warp * 32];
  for (unsigned j = 0; j < 32; ++j) {
    if (lanes[j].state != kAtWarpBarrier) continue;
    const unsigned mask = lanes[j].mask;
    if (!(mask >> j & 1)) return fail("a lane waits at a warp barrier whose mask leaves it out");
    bool complete = true;
    for (unsigned k = 0; k < 32; ++k) {
      if (!(mask >> k & 1)) continue;
      if (lanes[k].state == kDone) return fail("a lane named in a mask has exited");
      if (lanes[k].state == kAtBlockBarrier) return fail("a lane named in a mask waits at a block barrier");
      complete = complete && lanes[k].state == kAtWarpBarrier && lanes[k].mask == mask;
    }
    for (unsigned k = 0; complete && k < 32; ++k)
      if (mask >> k & 1) lanes[k].state = kReady;
  }
}

inline void Launch::fail_or_open_block_barrier() {
  for (const Fiber& fiber : fibers_) {
    if (fiber.state == kDone) return fail("some threads wait at a block barrier that others never reach");
    if (fiber.state == kAtWarpBarrier) return fail("lanes of one warp wait at different barriers");
  }
  for (Fiber& fiber : fibers_) fiber.state = kReady;
  redraw_ranks();
}

// Between two block barriers either a warp at random each time, or one that keeps the others waiting.
inline unsigned Launch::choose(const std::vector<unsigned>& ready) {
  if (seed_ == 0) return ready.front();
  if (seed_ == 1) return ready.back();
  if (!selfish_) return ready[random_() % ready.size()];
  return *std::max_element(ready.begin(), ready.end(), [&](unsigned a, unsigned b) { return rank_[a] < rank_[b]; });
}

inline void Launch::redraw_ranks() {
  selfish_ = random_() % 2 == 0;
  rank_.resize(threads / 32);
  for (unsigned& rank : rank_) rank = random_();
}

inline void Launch::run_block() {
  redraw_ranks();
  std::vector<unsigned> ready;
  for (;;) {
    ready.clear();
    for (unsigned t = 0; t < threads; ++t)
      if (fibers_[t].state == kReady && (ready.empty() || ready.back() != t / 32)) ready.push_back(t / 32);
    if (ready.empty()) {
      if (std::all_of(fibers_.begin(), fibers_.end(), [](const Fiber& f) { return f.state == kDone; })) return;
      fail_or_open_block_barrier();
      continue;
    }
    const unsigned warp = choose(ready);
    run_warp(warp);
    if (error_.empty()) open_warp_barrier(warp);
  }
}

inline void Launch::run() {
  std::vector<unsigned> order(blocks);
  for (unsigned j = 0; j < blocks; ++j) order[j] = seed_ == 1 ? blocks - 1 - j : j;
  if (seed_ > 1) std::shuffle(order.begin(), order.end(), random_);
  running = this;
  for (const unsigned next : order) {
    block = next;
    std::memset(shared_.data(), 0xFF, shared_.size());
    for (Fiber& fiber : fibers_) {
      getcontext(&fiber.context);
      fiber.context.uc_stack = {fiber.stack.get(), 0, kStack};
      fiber.context.uc_link = nullptr;
      fiber.state = kReady;
      makecontext(&fiber.context, &Launch::enter, 0);
    }
    run_block();
    if (!error_.empty()) break;
  }
  running = nullptr;
  if (!error_.empty()) throw std::runtime_error(error_);
}

struct ThreadIndex {
  struct X {
    operator unsigned() const { return running->thread(); }
  } x;
};
inline ThreadIndex thread_index;

// Every lane of `mask` shows a value; use(values shown) runs between two warp barriers.
template <class T, class Use>
auto meet(unsigned mask, T value, const Use& use) {
  Launch& launch = *running;
  launch.me().offer = 0;
  std::memcpy(&launch.me().offer, &value, sizeof value);
  launch.wait(kAtWarpBarrier, mask);
  const auto result = use([&](unsigned lane) {
    T shown;
    std::memcpy(&shown, &launch.lane(lane).offer, sizeof shown);
    return shown;
  });
  launch.wait(kAtWarpBarrier, mask);
  return result;
}

}  // namespace emulator

#define threadIdx (emulator::thread_index)
#define blockIdx (emulator::Index{emulator::running->block})
#define blockDim (emulator::Index{emulator::running->threads})
#define gridDim (emulator::Index{emulator::running->blocks})

inline void __syncthreads() { emulator::running->wait(emulator::kAtBlockBarrier); }
inline int __syncthreads_count(int value) {
  emulator::running->me().offer = value != 0;
  __syncthreads();
  const int offers = emulator::running->offers();
  __syncthreads();
  return offers;
}
inline int __syncthreads_or(int value) { return __syncthreads_count(value) > 0; }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { emulator::running->wait(emulator::kAtWarpBarrier, mask); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(int(x)); }
inline double __hiloint2double(int high, int low) {
  const uint64_t bits = uint64_t(uint32_t(high)) << 32 | uint32_t(low);
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with) {
  const unsigned lane = threadIdx.x % 32;
  return emulator::meet(mask, value,
                        [&](const auto& of) { return of(mask >> (lane ^ with) & 1 ? lane ^ with : lane); });
}

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return emulator::meet(mask, value,
                        [&](const auto& of) { return of(mask >> (from & 31) & 1 ? from & 31 : threadIdx.x % 32); });
}

inline unsigned __ballot_sync(unsigned mask, int value) {
  return emulator::meet(mask, value != 0, [&](const auto& of) {
    unsigned votes = 0;
    for (unsigned j = 0; j < 32; ++j)
      if ((mask >> j & 1) && of(j)) votes |= 1u << j;
    return votes;
  });
}

template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
  return emulator::meet(mask, value, [&](const auto& of) {
    unsigned equal = 0;
    for (unsigned j = 0; j < 32; ++j)
      if ((mask >> j & 1) && of(j) == value) equal |= 1u << j;
    return equal;
  });
}

template <class T>
T atomicAdd(T* place, T value) {
  const T old = *place;
  *place += value;
  return old;
}

inline void __threadfence() {}  // threads take turns

template <class T>
T atomicExch(T* place, T value) {
  const T old = *place;
  *place = value;
  return old;
}
