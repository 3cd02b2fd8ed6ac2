// Drawing, as CPU loops over plain pointers.
#pragma once

#include <vector>

#include "core/draw.h"
#include "cpu/record.h"
#include "cpu/widest.h"

namespace infonoise::cpu {

#if defined(INX_AVX2)
// draw_words of four blocks at once, one in each 64 bits; of those the upper 32 hold what nothing reads.
INX_AVX2 inline __m256i all(uint32_t x) { return _mm256_set1_epi64x(x); }

INX_AVX2 inline void draw_words_of_four(const Stream& s, int64_t block, uint32_t words[16]) {
  __m256i c0 = _mm256_add_epi32(all(uint32_t(block)), _mm256_set_epi64x(3, 2, 1, 0)), c1 = all(s.rank);
  __m256i c2 = all(uint32_t(s.offset)), c3 = all(uint32_t(s.offset >> 32));
  __m256i key0 = all(uint32_t(s.seed)), key1 = all(uint32_t(s.seed >> 32));
  for (int round = 0; round < 10; ++round) {
    const __m256i a = _mm256_mul_epu32(c0, all(0xD2511F53u)), b = _mm256_mul_epu32(c2, all(0xCD9E8D57u));
    c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(b, 32), c1), key0);
    c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(a, 32), c3), key1);
    c1 = b;
    c3 = a;
    key0 = _mm256_add_epi32(key0, all(0x9E3779B9u));
    key1 = _mm256_add_epi32(key1, all(0xBB67AE85u));
  }
  const __m256i first = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0xAA);  // words 0 and 1 of each block
  const __m256i last = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0xAA);
  const __m256i even = _mm256_unpacklo_epi64(first, last), odd = _mm256_unpackhi_epi64(first, last);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}
#endif

// Words of the chunk of samples that starts at `start`, a multiple of 4; room for whole sixteens.
inline void words_of_chunk(const Stream& s, int64_t start, int size, uint32_t* words) {
  int j = 0;
#if defined(INX_AVX2)
  for (; vectors != kPlain && j < size; j += 16) draw_words_of_four(s, (start + j) / 4, words + j);
#endif
  for (; j < size; j += 4) draw_words(s, (start + j) / 4, words + j);
}

// The strata of a call's samples, group by group: count them all, prepare, then move chunk after chunk of uniforms.
class AllStrata {
 public:
  explicit AllStrata(int64_t groups) : groups_(groups), before_(groups) {}

  void count(int64_t group, int64_t samples) { groups_[group].size += samples; }

  void prepare(const Params& p, const Stream& s) {
    const double world = double(world_of(p)), turn = turn_of(p, s.offset);
    for (size_t g = 0; g < groups_.size(); ++g) {
      Strata& strata = groups_[g];
      strata.world = world;
      strata.turn = turn;
      for (int j = 0; strata.size > 0 && j < kShuffleBlocks; ++j) shuffle_keys(s, g, j, strata.keys + 4 * j);
    }
  }

  void move(const int64_t* group, int size, double* u) {
    if (!group) return move_alone(size, u);
    for (int i = 0; i < size; ++i) u[i] = stratified(groups_[group[i]], before_[group[i]]++, u[i]);
  }

 private:
  void move_alone(int size, double* u) {  // a round of the shuffle over the whole chunk, then the next
    widest([s = groups_[0], first = before_[0], size, u] {
      uint32_t x[kChunk];
      for (int i = 0; i < size; ++i) x[i] = first + uint32_t(i);
      for (int j = 0; j < 4 * kShuffleBlocks; j += 2)
        for (int i = 0; i < size; ++i) x[i] = swap_or_not(x[i], s.size, s.keys[j], s.keys[j + 1]);
      for (int i = 0; i < size; ++i) u[i] = in_stratum(s, x[i], u[i]);
    });
    before_[0] += uint32_t(size);
  }

  std::vector<Strata> groups_;
  std::vector<uint32_t> before_;
};

// The u of a chunk's words, in their strata where there are any.
inline void uniforms(const uint32_t* words, const int64_t* group, int size, AllStrata* strata, double* u) {
  for (int i = 0; i < size; ++i) u[i] = uniform(words[i]);
  if (strata) strata->move(group, size, u);
}

// Where to start looking for the bin of u in a table: worth its making for a few hundred samples.
class Guide {
 public:
  static constexpr int kWorth = 512;

  Guide(const double* cdf, int bins) : cdf_(cdf), bins_(bins) {
    int k = 0;
    for (int i = 0; i < kStarts; ++i) {
      while (k < bins - 1 && cdf[k + 1] * kStarts <= i) ++k;
      start_[i] = uint16_t(k);
    }
  }

  int bin(double u) const {
    const double cell = u * kStarts;
    int k = start_[!(cell > 0) ? 0 : cell >= kStarts ? kStarts - 1 : int(cell)];  // NaN: 0
    while (k < bins_ - 1 && cdf_[k + 1] <= u) ++k;
    return k;
  }

 private:
  static constexpr int kStarts = 1024;
  const double* cdf_;
  int bins_;
  uint16_t start_[kStarts];
};

// Sigmas of a chunk of uniforms, of the tables that `group` names; `find(u, table)` gives the bin.
template <class Find>
void invert(const Params& p, const Grid& grid, const double* cdf, const double* u, const int64_t* group, int size,
            float* sigma, const Find& find) {
  double x[kChunk];
  for (int i = 0; i < size; ++i) {
    const double* table = cdf + (group ? group[i] * (grid.bins + 1) : 0);
    const int k = find(u[i], table);
    x[i] = log_sigma_at(p, k, u[i], table[k], table[k + 1] - table[k]);
  }
  for (int i = 0; i < size; ++i) x[i] = exp_plain(x[i]);
  const double* edges = grid.row(kEdges);
  for (int i = 0; i < size; ++i) sigma[i] = clamp_sigma(x[i], edges, grid.bins);
}

// A table as words see it, made once where that pays.
class DrawTable {
 public:
  DrawTable(const double* cdf, const double* edges, int bins) {
    const int last = last_word_bin(cdf, bins);
    widest([this, cdf, edges, last] {
      for (int k = 0; k <= last; ++k) bins_[k] = word_bin(cdf, k, edges);
    });
    bins_[last + 1].first = 0;
    uint32_t cell = 0;
    for (int k = 0; k <= last; ++k) {  // fills cells in runs, beyond those of bin k too, which the next bins mend
      const uint32_t end = k < last ? uint32_t((uint64_t(bins_[k + 1].first) + kCellWords - 1) >> kCellShift) : kCells;
      for (; cell < end; cell += kRun) std::fill_n(cells_ + cell, kRun, uint16_t(k));
      cell = end;
    }
  }

  // From how many samples on its making pays.
  static int64_t worth(int bins) { return 16 + bins / 8; }

  // A bin that begins within a cell begins above the cell's first word, so above 0; behind the last one stands 0.
  const WordBin& of(uint32_t word) const {
    const WordBin* bin = bins_ + cells_[word >> kCellShift];
    while (word > bin[1].first - 1u) ++bin;
    return *bin;
  }

 private:
  static constexpr uint32_t kCells = 2048, kCellShift = 21, kCellWords = 1u << kCellShift, kRun = 32;
  uint16_t cells_[kCells + kRun];
  WordBin bins_[kMaxBins + 1];
};

// Sigmas of a chunk of words; `find(i)` gives the bin of sample i.
template <class Find>
void draw_by_words(const Params& p, const Grid& grid, const uint32_t* words, int size, float* sigma, const Find& find) {
  WordBin bins[kChunk];
  for (int i = 0; i < size; ++i) bins[i] = find(i);
  const float width = float(p.width), highest = float(grid.row(kEdges)[grid.bins]);
  const auto draw = [&](auto growth) {
    widest([&bins, words, size, sigma, growth, highest] {
      for (int i = 0; i < size; ++i) sigma[i] = sigma_of_word(bins[i], words[i], growth, highest);
    });
  };
  is_narrow(width) ? draw(NarrowGrowth(width)) : draw(Growth{width});
}

}  // namespace infonoise::cpu
