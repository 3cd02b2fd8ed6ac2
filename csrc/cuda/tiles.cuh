// A batch beyond one block, in tiles: one launch tallies them and counts, the next writes rings and draws, and its last
// block ends the step. Block j works on tile j / G for group j % G.
#pragma once

#include "cuda/draw.cuh"
#include "cuda/plain.cuh"
#include "cuda/refresh.cuh"
#include "cuda/small.cuh"

namespace infonoise::cuda {

enum Way { kAnyWay, kPlain, kHeldByWarps };  // in which a tile's samples are looked at

struct Tiles {
  int* tallies;  // [number, G, columns], then the blocks that are done
  int number, workers;
  Way way;
};

inline int64_t scratch_ints(int64_t tiles, int64_t groups, int bins) { return tiles * groups * (bins + kCauses) + 1; }

__device__ inline int* done_of(const Tiles& tiles, const Rings& rings, int bins) {
  return tiles.tallies + int64_t(tiles.number) * rings.groups * (bins + kCauses);
}

inline INX_BOTH int64_t tile_size(int64_t samples, int tiles) { return (samples + 4 * tiles - 1) / (4 * tiles) * 4; }

__device__ inline Tile large_tile(const Tiles& tiles, const Rings& rings, const Batch& b, int bins,
                                  unsigned char* shared) {
  const int64_t size = tile_size(b.size, tiles.number), first = blockIdx.x / rings.groups * size, last = first + size;
  return tile_of(first < b.size ? first : b.size, last < b.size ? PLANT(tile_edge, last, last + 1) : b.size, bins,
                 tiles.workers, shared);
}

// One sample a thread of a tile that has no more, of a batch of one group.
struct HeldTile {
  Held<1> held;
  float sigma[1];
  float* edges;  // [K + 1], the floats above those of the grid, in shared memory behind the tallies

  __device__ HeldTile(const Tile& tile, const Grid& grid, const Batch& b)
      : edges(reinterpret_cast<float*>(tile.row(tile.workers + kPlans))) {
    read<1>(b.sigma, tile.first + threadIdx.x, tile.last, sigma);
    read<1>(b.error, tile.first + threadIdx.x, tile.last, held.error);
    for (int k = threadIdx.x; k <= grid.bins; k += blockDim.x) edges[k] = float_above(grid.row(kEdges)[k]);
  }

  __device__ bool here(const Tile& tile) const { return int(threadIdx.x) / 32 < tile.workers; }

  // After a barrier. For the warps that are here.
  __device__ void find(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header, const Batch& b) {
    held.find(rings, grid, header, edges, b, int(tile.first) + threadIdx.x, int(tile.last), sigma);
  }
};

__device__ inline void tally_held(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header,
                                  const Batch& b) {
  HeldTile samples(tile, grid, b);
  __syncthreads();
  if (samples.here(tile)) {
    samples.find(tile, rings, grid, header, b);
    const int key = samples.held.key[0];
    if (key >= 0) atomicAdd(tile.row(threadIdx.x / 32) + key, 1);
  }
  __syncthreads();
}

// Samples in a column of the tiles behind `index`, from the last one on until there are `enough`.
__device__ inline int tiles_after(const int* column, int64_t stride, int64_t index, int64_t tiles, int64_t enough) {
  constexpr int kAtOnce = 48;
  int after = 0;
  for (int64_t last = tiles - 1; last > index && after < enough; last -= kAtOnce) {
    int some[4] = {};
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) some[j % 4] += last - j > index ? column[(last - j) * stride] : 0;
    after += some[0] + some[1] + some[2] + some[3];
  }
  return after;
}

// Which losses of the tile stay in each bin's ring, and where. Whether any do.
__device__ inline bool plan_tile(const Tiles& tiles, const Tile& tile, const Rings& rings, int bins, int64_t g) {
  const int64_t index = blockIdx.x / rings.groups, stride = rings.groups * tile.columns;
  bool keeps = false;
  for (int k = threadIdx.x; k < bins; k += blockDim.x) {
    const int* column = tiles.tallies + g * tile.columns + k;
    const int own = column[index * stride];
    const int64_t count = rings.count[g * bins + k];
    if (own == 0) continue;
    const int after = tiles_after(column, stride, index, tiles.number, rings.capacity);
    const int kept = plan_bin(tile, rings, k, count - after - own, own, after);
    keeps = keeps || own > PLANT(skipped_tile, kept, kept + 1);
  }
  return keeps;
}

// Writes what stays; after `clear_tile` and a barrier.
__device__ inline void place_tile(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header,
                                  const Batch& b, int64_t g) {
  tally_tile(tile, rings, grid, header, b, g);
  for (int k = threadIdx.x; k < grid.bins; k += blockDim.x) rank_workers(tile, k, 0);
  __syncthreads();
  write_rings(tile, rings, grid, header, b, g);
}

// The same of samples that are held, of which each is looked at once.
__device__ inline void place_held(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header,
                                  const Batch& b, HeldTile& samples) {
  Held<1>& held = samples.held;
  int* mine = tile.row(threadIdx.x / 32);
  if (samples.here(tile)) {
    samples.find(tile, rings, grid, header, b);
    held.tally(mine);
  }
  PLANT(missing_ranks_barrier, __syncthreads(), void());
  for (int k = threadIdx.x; k < grid.bins; k += blockDim.x) rank_workers(tile, k, 0);
  __syncthreads();
  if (samples.here(tile) && held.key[0] >= 0 && held.key[0] < grid.bins)
    write_loss(tile, rings, grid.bins, 0, held.key[0], mine[held.key[0]] + held.rank[0], held.error[0]);
}

// Whether all other blocks of the launch have come here; what they wrote is then known. Begins and ends with a barrier.
__device__ inline bool comes_last(int* done) {
  __syncthreads();
  bool last = false;
  if (threadIdx.x == 0) {
    __threadfence();
    last = PLANT(early_end, atomicAdd(done, 1) == int(gridDim.x) - 1, true);
    __threadfence();
  }
  return __syncthreads_or(last);
}

}  // namespace infonoise::cuda
