// Drawing: Philox words, and the sigma of a word or of a uniform number, through the inverse of a table.
#pragma once

#include "core/layout.h"

namespace infonoise {

constexpr double kWidestBin = 2;     // bins up to this wide in log sigma are drawn from in float32
constexpr float kNarrowBin = 0.17f;  // bins up to this wide need no exponential, but a polynomial

#if defined(__CUDA_ARCH__)
INX_HD uint32_t high_product(uint32_t a, uint32_t b) { return __umulhi(a, b); }
INX_HD float at_most(float x, float highest) { return fminf(x, highest); }
#else
INX_HD uint32_t high_product(uint32_t a, uint32_t b) { return uint32_t(uint64_t(a) * b >> 32); }
INX_HD float at_most(float x, float highest) { return x < highest ? x : highest; }  // for NaN too
#endif

// Philox4x32-10, Salmon et al. 2011: c holds the counter and receives the four words.
INX_HD void philox(uint32_t c[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint32_t c0 = c[0], c2 = c[2];
    c[0] = high_product(c2, 0xCD9E8D57u) ^ c[1] ^ key0;
    c[1] = c2 * 0xCD9E8D57u;
    c[2] = high_product(c0, 0xD2511F53u) ^ c[3] ^ key1;
    c[3] = c0 * 0xD2511F53u;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

struct Stream {  // the draw of one call
  uint64_t seed, offset;
  uint32_t rank;
};

INX_HD Stream stream_of(const Params& p, const int64_t* rng, uint64_t offset) {
  return {uint64_t(rng[0]), offset, uint32_t(p.rank)};
}

// The four words of samples 4 * block to 4 * block + 3.
INX_HD void draw_words(const Stream& s, int64_t block, uint32_t words[4]) {
  words[0] = uint32_t(block);
  words[1] = s.rank;
  words[2] = uint32_t(s.offset);
  words[3] = uint32_t(s.offset >> 32);
  philox(words, uint32_t(s.seed), uint32_t(s.seed >> 32));
}

INX_HD double uniform(uint32_t word) { return (word + 0.5) * 0x1p-32; }

constexpr int kShuffleBlocks = 8;         // Philox blocks with the keys of a shuffle, of two rounds each
constexpr uint32_t kNoRank = 0xFFFFFFFF;  // in place of the rank, for what all ranks must find alike

// A round of swap-or-not (Hoang, Morris and Rogaway 2012) pairs x with k - x modulo n, and swaps the two if a bit of
// the larger one says so.
INX_HD uint32_t swap_or_not(uint32_t x, uint64_t n, uint32_t key, uint32_t slope) {
  const uint64_t product = key * n;
  const uint32_t k = uint32_t(product >> 32), other = k - x + (k < x ? uint32_t(n) : 0u);
  return int32_t(slope * (x > other ? x : other) + uint32_t(product)) < 0 ? other : x;
}

// The keys of the rounds 2 j and 2 j + 1 of a group's shuffle: from the last blocks, which no sample uses.
INX_HD void shuffle_keys(const Stream& s, int64_t group, int j, uint32_t keys[4]) {
  draw_words(s, -1 - group * kShuffleBlocks - j, keys);
}

// Where a permutation of [0, n) takes x; n is at most 2^32.
INX_HD uint32_t shuffle(uint32_t x, uint64_t n, const uint32_t keys[4 * kShuffleBlocks]) {
  INX_ROLLED
  for (int j = 0; j < 4 * kShuffleBlocks; j += 2) x = swap_or_not(x, n, keys[j], keys[j + 1]);
  return x;
}

// The strata of a group's samples in one call. The m samples lie one in each m-th of (0, 1); the ranks divide each
// m-th into `world` parts and take turns, the same for all groups.
struct Strata {
  uint64_t size;
  double world, turn;
  uint32_t keys[4 * kShuffleBlocks];
};

INX_HD uint64_t world_of(const Params& p) { return p.world >= 1 && p.world <= 0x1p32 ? uint64_t(p.world) : 1; }

INX_HD double turn_of(const Params& p, uint64_t offset) {
  const uint64_t world = world_of(p);
  uint32_t turn = uint32_t(uint64_t(p.rank) % world), keys[4];
  INX_ROLLED
  for (int j = 0; world > 1 && j < kShuffleBlocks; ++j) {
    shuffle_keys({0, offset, kNoRank}, 0, j, keys);
    turn = swap_or_not(turn, world, keys[0], keys[1]);
    turn = swap_or_not(turn, world, keys[2], keys[3]);
  }
  return turn;
}

INX_HD double in_stratum(const Strata& s, uint32_t stratum, double u) {
  return (stratum * s.world + s.turn + u) / (s.world * double(s.size));
}

// Of the group's sample that has `place` samples of the group before it.
INX_HD double stratified(const Strata& s, uint32_t place, double u) {
  return in_stratum(s, shuffle(place, s.size, s.keys), u);
}

// The last k from `low` on and below `high` with at(k) <= x; `low` where there is none. `at` does not fall.
template <class At, class X>
INX_HD int last_at_most(const At& at, int low, int high, X x) {
  while (high - low > 1) {
    const int middle = (low + high) >> 1;
    (at(middle) <= x ? low : high) = middle;
  }
  return low;
}

// The k with cdf[k] <= u < cdf[k + 1].
INX_HD int cdf_bin(double u, const double* cdf, int bins) {
  return last_at_most([cdf](int k) { return cdf[k]; }, 0, bins, u);
}

// exp to 4e-12 relative for |x| < 700, in plain arithmetic that vectorises and is the same everywhere.
INX_HD double exp_plain(double x) {
  const double shifted = x * 1.4426950408889634 + 0x1.8p52;
  const double n = shifted - 0x1.8p52;
  const double r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;
  double p = 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  return p * bit_cast<double>((bit_cast<uint64_t>(shifted) + 1023) << 52);
}

// Exact inverse of the piecewise-constant density in log sigma, inside bin k.
INX_HD double log_sigma_at(const Params& p, int k, double u, double low, double mass) {
  double fraction = mass > 0 ? (u - low) / mass : 1.0;
  fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
  return p.log_min + p.width * (k + fraction);
}

// exp to 3e-7 relative for |x| < 80, in float32 and plain arithmetic.
INX_HD float exp_float(float x) {
  const float shifted = x * 1.44269504f + 0x1.8p23f;
  const float n = shifted - 0x1.8p23f;
  const float r = (x - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * bit_cast<float>((bit_cast<uint32_t>(shifted) + 127) << 23);
}

// A bin as words see it: those from `first` on are its own, and word w lies at the fraction
// start + slope * (w - first) of it.
struct WordBin {
  uint32_t first;
  float start, slope, edge;
};

// Whether sigma comes from the 32-bit word itself; else from u in float64. Both agree on the bin.
INX_HD bool draws_by_words(const Params& p) { return !(p.stratified > 0) && p.width <= kWidestBin; }

// The last bin that a word can reach, beyond which `first` would not fit.
INX_HD int last_word_bin(const double* cdf, int bins) {
  const double u = uniform(0xFFFFFFFFu);
  return cdf[bins - 1] <= u ? bins - 1 : cdf_bin(u, cdf, bins);
}

// Of a bin k <= last_word_bin, from cdf[k] to cdf[k + 1]. Word w is in it or above exactly when uniform(w) >= cdf[k].
INX_HD WordBin word_bin(double from, double to, double edge) {
  const double low = from * 0x1p32, mass = (to - from) * 0x1p32;
  const double first = std::ceil(low - 0.5);
  const double start = mass > 0 ? (first + 0.5 - low) / mass : 1;
  return {uint32_t(first), float(start), float(mass > 1 ? 1 / mass : 0), float(edge)};  // else of one word
}

INX_HD WordBin word_bin(const double* cdf, int k, const double* edges) {
  return word_bin(cdf[k], cdf[k + 1], edges[k]);
}

// exp(width * fraction) for a fraction in [0, 1], never below 1, so that sigma never falls below its bin.
struct Growth {
  float width;
  INX_HD float operator()(float fraction) const { return exp_float(width * (fraction < 1.0f ? fraction : 1.0f)); }
};

// Of a narrow bin: to 4e-7 relative, by a minimax polynomial that is 1 at 0.
struct NarrowGrowth {
  float c1, c2, c3;
  INX_HD explicit NarrowGrowth(float width)
      : c1(1.00003864f * width), c2(0.498604404f * (width * width)), c3(0.180794174f * (width * width * width)) {}
  INX_HD float operator()(float fraction) const { return ((c3 * fraction + c2) * fraction + c1) * fraction + 1.0f; }
};

INX_HD bool is_narrow(float width) { return width >= 0 && width <= kNarrowBin; }

template <class G>
INX_HD float sigma_of_word(const WordBin& bin, uint32_t word, const G& growth, float highest) {
  return at_most(bin.edge * growth(bin.start + bin.slope * float(word - bin.first)), highest);
}

INX_HD float sigma_of_word(const WordBin& bin, uint32_t word, float width, float highest) {
  return is_narrow(width) ? sigma_of_word(bin, word, NarrowGrowth(width), highest)
                          : sigma_of_word(bin, word, Growth{width}, highest);
}

INX_HD float clamp_sigma(double sigma, const double* edges, int bins) {
  const float value = float(sigma), low = float(edges[0]), high = float(edges[bins]);
  return value < low ? low : value > high ? high : value;
}

}  // namespace infonoise
