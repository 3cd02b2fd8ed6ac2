// A step of one group whose batch a block holds in its registers. What it reads is on its way at once; every sample is
// looked at once; draws run while others record, from the table that stood before the step.
#pragma once

#include "cuda/draw.cuh"
#include "cuda/record.cuh"

namespace infonoise::cuda {

constexpr int kHeld = 8;  // the most samples of a thread
constexpr int kRows = 8;  // of tallies, which are added up at once

struct alignas(16) Zeros {  // written at once
  int of[4] = {};
};

struct Desk {       // in a block's shared memory
  WordBin* words;   // [K]
  int* tallies;     // [rows, columns], of each warp; then of the warps before it
  uint32_t* first;  // [places], first words of bins, and none of what is no bin
  float* edges;     // [K + 1], the floats next above
  uint32_t* next;   // [K], the slot of a bin's next loss
  int* total;       // [K + kCauses], samples of each key
  int columns, places;
  __device__ int* row(int warp) const { return tallies + warp * columns; }
};

inline INX_BOTH int columns_for(int bins) { return (bins + kCauses + 3) / 4 * 4; }
inline INX_BOTH int rows_for(int warps) { return (warps + kRows - 1) / kRows * kRows; }

// A power of four.
inline INX_BOTH int places_for(int bins) { return bins <= 16 ? 16 : bins <= 64 ? 64 : bins <= 256 ? 256 : 1024; }

inline size_t desk_bytes(int bins, int threads) {
  return sizeof(WordBin) * bins +
         sizeof(int) * (rows_for(threads / 32) * columns_for(bins) + places_for(bins) + 3 * (bins + kCauses));
}

__device__ inline Desk desk_of(int bins, int rows, unsigned char* shared) {
  Desk desk;
  desk.columns = columns_for(bins);
  desk.places = places_for(bins);
  desk.words = body_of<WordBin>(shared);
  desk.tallies = reinterpret_cast<int*>(desk.words + bins);
  desk.first = reinterpret_cast<uint32_t*>(desk.tallies + rows * desk.columns);
  desk.edges = reinterpret_cast<float*>(desk.first + desk.places);
  desk.next = reinterpret_cast<uint32_t*>(desk.edges + bins + 1);
  desk.total = reinterpret_cast<int*>(desk.next + bins);
  return desk;
}

// at[j] = the bin of words[j], of which `last` is the last, by quarters: three looks at once, of all words at once.
template <int N>
__device__ void find_by_quarters(const Desk& desk, int last, const uint32_t words[N], int at[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) at[j] = 0;
  for (int step = desk.places / 4; step > 0; step /= 4) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const uint32_t* first = desk.first + at[j];
      at[j] += step * ((first[step] <= words[j]) + (first[2 * step] <= words[j]) + (first[3 * step] <= words[j]));
    }
  }
#pragma unroll
  for (int j = 0; j < N; ++j) at[j] = at[j] < last ? at[j] : last;
}

// written modulo the capacity, which is below 2^31.
__device__ inline uint32_t slot_after(int64_t written, int64_t capacity) {
  const uint64_t w = uint64_t(written);
  return w >> 32 ? uint32_t(w % uint64_t(capacity)) : uint32_t(w) % uint32_t(capacity);
}

// Of N samples from N * item on.
template <int N>
__device__ void some_words(const Stream& stream, uint32_t item, uint32_t words[N]) {
  static_assert(N == 2 || N == 4, "a half of a Philox block, or all");
  uint32_t all[4];
  draw_words(stream, item / (4 / N), all);
#pragma unroll
  for (int j = 0; j < N; ++j) words[j] = N == 2 && item % 2 ? all[(j + 2) % 4] : all[j];
}

// Of a warp's samples: keys, and how many before each in the same warp have its key.
template <int N>
struct Held {
  int key[N], rank[N];
  float error[N];

  // Keys of the samples i, i + 32 and so on below `end`. Most are sound, and their bin is next to the guess: those wait
  // for nothing but one look at the edges, all at once.
  __device__ void find(const Rings& rings, const Grid& grid, const Header* header, const float* edges, const Batch& b,
                       int i, int end, const float sigma[N]) {
    const bool plain = b.mask.kind == kAbsent && b.group.kind == kAbsent && !b.recomputed;
    const int top = grid.bins - 1;
    const float low = header->low, high = header->high;
    bool found[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float x = sigma[j];
      const int k = guess_bin(x, header->range, grid.bins);
      const bool below = (x < edges[k]) & (k > 0), above = (x >= edges[k + 1]) & (k < top);
      key[j] = k - int(below) + int(above);
      const bool near = (x >= edges[key[j]] || key[j] == 0) && (x < edges[key[j] + 1] || key[j] == top);
      found[j] =
          plain & near & (x >= low) & (x <= high) & (error[j] >= 0.0f) & (error[j] <= FLT_MAX) & (i + 32 * j < end);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (found[j]) continue;
      const int at = i + 32 * j;
      key[j] = at < end ? key_of(rings, grid.bins, header->range, grid.row(kEdges), b, 0, at, sigma[j], error[j]) : -1;
    }
  }

  __device__ void tally(int* mine) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const unsigned peers = __match_any_sync(kAllLanes, key[j]);
      const int before = j > 0 && key[j] >= 0 ? mine[key[j]] : 0;
      rank[j] = before + __popc(peers & ((1u << lane) - 1));
      PLANT(missing_tally_barrier, __syncwarp(), void());
      if (key[j] >= 0 && __ffs(peers) - 1 == lane) mine[key[j]] = before + __popc(peers);
      __syncwarp();
    }
  }

  // Of each bin the last C losses of the batch, into the slots that follow the last one's.
  __device__ void write(const Rings& rings, const Desk& desk, int bins, const int* before) const {
    const uint32_t capacity = uint32_t(rings.capacity);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (key[j] < 0 || key[j] >= bins) continue;
      const uint32_t place = uint32_t(rank[j] + before[key[j]]);
      if (place + capacity < uint32_t(desk.total[key[j]])) continue;
      uint32_t slot = desk.next[key[j]] + place;
      slot = slot < capacity ? slot : slot - capacity;
      rings.ring[key[j] * rings.capacity + (slot < capacity ? slot : slot % capacity)] = error[j];
    }
  }
};

// Column by column: tallies of warps become those of the warps before; the sum goes to the desk and to `count`.
__device__ inline void add_up(const Desk& desk, int rows, int64_t known, int64_t* count) {
  int sum = 0;
  for (int first = 0; first < rows; first += kRows) {
    int tally[kRows];
#pragma unroll
    for (int w = 0; w < kRows; ++w) tally[w] = desk.row(first + w)[threadIdx.x];
#pragma unroll
    for (int w = 0; w < kRows; ++w) {
      desk.row(first + w)[threadIdx.x] = sum;
      sum += tally[w];
    }
  }
  desk.total[threadIdx.x] = sum;
  if (sum > 0) *count = known + sum;
}

struct Left {  // of a step
  bool draws, count;
};

// Of one group, with no more than N samples a thread and no more keys than threads. Records; draws by words; counts the
// step if no refresh is due.
template <int N>
__device__ Left small_step(const Rings& rings, const Tables& t, const Grid& grid, const Params* params, int64_t* rng,
                           const Batch& b, const Draw& d, int strips, unsigned char* shared) {
  constexpr int kWords = N == 1 ? 2 : 4;
  const int bins = grid.bins, warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32,
            k = threadIdx.x;
  const int stretch = N == 1 ? 32 : 32 * strips;
  const int size = int(b.size), begin = warp * stretch, end = begin + stretch < size ? begin + stretch : size;
  const int rows = rows_for(N == 1 ? (size + 31) / 32 : warps);
  const Desk desk = desk_of(bins, rows, shared);
  Header* header = header_of(shared);
  const bool holds = begin < size;
  const bool has_column = k < bins + kCauses;
  uint32_t items = uint32_t((d.size + kWords - 1) / kWords);
  uint32_t item = (warps - 1 - warp) * 32 + lane, words[kWords];  // the last warps draw, as the first ones hold samples

  // Each warp loads all that its part needs, before anything waits.
  Held<N> held;
  float sigma[N];
  if (holds) {
    read<N>(b.sigma, begin + lane, end, sigma);
    read<N>(b.error, begin + lane, end, held.error);
  }
  int64_t* count = counter_of(rings, bins, 0, k);
  int64_t known = 0;
  bool reached = false;
  if (has_column) {
    const int here = k < bins ? k : bins, after = k < bins ? k + 1 : bins;
    const double edge = grid.row(kEdges)[here], from = t.cdf[here], to = t.cdf[after];
    known = *count;
    reached = (k < bins) & (from <= uniform(0xFFFFFFFFu));
    const WordBin bin = word_bin(from, reached ? to : from, edge);
    if (k < bins) {
      desk.words[k] = bin;
      desk.first[k] = reached ? bin.first : 0xFFFFFFFF;
      desk.next[k] = slot_after(known, rings.capacity);
    }
    if (k <= bins) desk.edges[k] = float_above(edge);
  }
  if (k == (warps + 1) / 2 * 32 - 32) {  // of a warp that has little else to do
    const int64_t steps = rings.counters[kSteps] + 1, offset = rng[1];
    const Params p = *params;
    header->due = refresh_is_due(p, steps);
    header->by_words = draws_by_words(p);
    header->offset = uint64_t(offset) & (kTicket - 1);
    header->steps = steps;
    set_range(header, grid);
  }
  for (int j = bins + int(blockDim.x) - 1 - k; j < desk.places; j += blockDim.x) desk.first[j] = 0xFFFFFFFF;
  for (int j = k; j < rows * desk.columns / 4; j += blockDim.x) reinterpret_cast<Zeros*>(desk.tallies)[j] = {};
  float width = 0;
  const float highest = float(grid.row(kEdges)[bins]);
  if (item < items) {
    const Params p = *params;
    width = float(p.width);
    some_words<kWords>(stream_of(p, rng, uint64_t(rng[1]) & (kTicket - 1)), item, words);
  }
  const int count_reached = __syncthreads_count(reached), last = count_reached > 0 ? count_reached - 1 : 0;

  if (!header->by_words) items = 0;
  const auto draw = [&] {
    while (item < items) {
      int at[kWords];
      float out[kWords];
      find_by_quarters<kWords>(desk, last, words, at);
#pragma unroll
      for (int j = 0; j < kWords; ++j) out[j] = sigma_of_word(desk.words[at[j]], words[j], width, highest);
      store<kWords>(d.sigma, d.size, int64_t(kWords) * item, out);
      item += blockDim.x;
      if (N > 1 && item < items) some_words<kWords>(stream_of(*params, rng, header->offset), item, words);
    }
  };
  if (holds) {
    held.find(rings, grid, header, desk.edges, b, begin + lane, end, sigma);
    held.tally(desk.row(warp));
  } else {
    draw();
  }
  PLANT(missing_small_barrier, __syncthreads(), void());
  if (has_column) add_up(desk, rows, known, count);
  if (holds) draw();
  __syncthreads();
  if (holds) held.write(rings, desk, bins, desk.row(warp));
  const Left left{!header->by_words && d.size > 0, header->due};
  if (k == 0 && d.size > 0) rng[1] = int64_t(header->offset) + 1;
  if (k == 0 && !left.count) rings.counters[kSteps] = header->steps;
  return left;
}

}  // namespace infonoise::cuda
