// Tallies of a plain batch: contiguous float32 of one group, without a mask, as most are. Bins are found by cells.
#pragma once

#include "cuda/record.cuh"

namespace infonoise::cuda {

// A float's first 15 bits are its cell: 64 to an octave. Its entry is the bin of its first float, or kManyEdges where
// more bins than one begin in it.
constexpr uint32_t kFloatCells = 4096, kFloatCellShift = 17;
constexpr uint16_t kManyEdges = 0xFFFF;

struct FloatTable {  // in a block's shared memory
  float* edges;      // [K + 1], the floats above those of the grid; the last is infinite
  uint16_t* cells;   // [kFloatCells]
};

inline size_t plain_bytes(int bins) { return sizeof(float) * (bins + 1) + sizeof(uint16_t) * kFloatCells; }

// Whether fours of samples can be read at once, and all are group 0's.
inline bool is_plain(const Rings& rings, const Batch& b) {
  const auto whole = [](const Column& c) {
    return c.kind == kFloat32 && c.stride == 1 && reinterpret_cast<uintptr_t>(c.data) % 16 == 0;
  };
  return whole(b.sigma) && whole(b.error) && b.mask.kind == kAbsent && b.group.kind == kAbsent && rings.groups == 1 &&
         !b.recomputed;
}

// Whether the cells hold the grid's range.
__device__ inline bool has_cells(const Grid& grid) {
  const double low = grid.row(kEdges)[0], high = grid.row(kEdges)[grid.bins];
  return low > FLT_MIN && high < FLT_MAX / 2 && high < low * 0x1p62;
}

// Ends with a barrier.
__device__ inline FloatTable make_float_table(const Grid& grid, const Header& header, unsigned char* place) {
  const int bins = grid.bins;
  FloatTable t{reinterpret_cast<float*>(place), reinterpret_cast<uint16_t*>(place + sizeof(float) * (bins + 1))};
  for (int k = threadIdx.x; k <= bins; k += blockDim.x)
    t.edges[k] = k < bins ? float_above(grid.row(kEdges)[k]) : HUGE_VALF;
  PLANT(missing_edges_barrier, __syncthreads(), void());
  const uint32_t base = bit_cast<uint32_t>(header.low) >> kFloatCellShift;
  const uint32_t cells = (bit_cast<uint32_t>(header.high) >> kFloatCellShift) - base + 1;
  for (uint32_t c = threadIdx.x; c < cells; c += blockDim.x) {
    const float first = bit_cast<float>((base + c) << kFloatCellShift);
    const float next = bit_cast<float>((base + c + 1) << kFloatCellShift);
    const int k = last_at_most([&](int k) { return t.edges[k]; }, 0, bins, first);
    const bool many = PLANT(crowded_float_cell, k + 2 <= bins && t.edges[k + 2] < next, false);
    t.cells[c] = many ? kManyEdges : uint16_t(k);
  }
  __syncthreads();
  return t;
}

// As `tally_tile`, of a thread's samples in any order. A tile begins at a whole four.
__device__ inline void tally_plain(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header,
                                   const Batch& b, unsigned char* place) {
  const FloatTable t = make_float_table(grid, *header, place);
  const float *sigmas = static_cast<const float*>(b.sigma.data), *errors = static_cast<const float*>(b.error.data);
  const uint32_t low = bit_cast<uint32_t>(header->low), span = bit_cast<uint32_t>(header->high) - low;
  const uint32_t base = low >> kFloatCellShift;
  int* mine = tile.row(threadIdx.x / 32 % tile.workers);
  const auto exact = [&](int64_t i) {
    const int key = key_of(rings, grid.bins, header->range, grid.row(kEdges), b, 0, i, sigmas[i], errors[i]);
    atomicAdd(mine + key, 1);
  };
  const int64_t fours = tile.first + (tile.last - tile.first) / 4 * 4;
  INX_ROLLED
  for (int64_t i = tile.first + 4 * threadIdx.x; i < fours; i += 4 * blockDim.x) {
    const Four sigma = *reinterpret_cast<const Four*>(sigmas + i), error = *reinterpret_cast<const Four*>(errors + i);
    uint32_t left = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t bits = bit_cast<uint32_t>(sigma.of[j]);
      const bool sound = (bits - low <= span) & (bit_cast<uint32_t>(error.of[j]) < 0x7F800000u);  // 0 to FLT_MAX
      const uint32_t entry = sound ? t.cells[(bits >> kFloatCellShift) - base] : kManyEdges;
      if (entry == kManyEdges)
        left |= 1u << j;
      else
        atomicAdd(mine + entry + int(sigma.of[j] >= t.edges[entry + 1]), 1);
    }
    INX_ROLLED
    for (int64_t k = i; left != 0; ++k, left >>= 1)
      if (left & 1) exact(k);
  }
  if (fours + threadIdx.x < tile.last) exact(fours + threadIdx.x);
  __syncthreads();
}

}  // namespace infonoise::cuda
