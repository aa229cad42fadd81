// Steps of tensors, a single pass over memory each: direction, quantizer, weights, counters.
//
// "direction.h" is made from the optimizer's own direction (see _native.py): the type T of the
// numbers, WORD of their words, DIRECTION_SETUP, DIRECTION for the direction at i, and ADVANCE,
// which says KEEP(old, next) of each number of the state.
//
// Loops work on the words of floats where they look for extremes: words of positive floats have
// the order of the floats, those of negative ones are negative, and the other way round with the
// sign changed. So there are no comparisons of floats, which NaN would make an order of its own,
// and no branches: what is chosen is chosen by a mask.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <omp.h>

#include "direction.h"

namespace {

#define KEEP(old, next) old = number((word(next) & finite) | (word(old) & ~finite));

constexpr WORD SIGN = std::numeric_limits<WORD>::min();
constexpr int BITS = std::numeric_limits<WORD>::digits;

inline WORD word(T x) {
    WORD result;
    std::memcpy(&result, &x, sizeof x);
    return result;
}

inline T number(WORD x) {
    T result;
    std::memcpy(&result, &x, sizeof x);
    return result;
}

struct Tally {
    WORD high = 0, low = 0, most = 0;  // of h, of -h, of abs(w)
    int64_t nonzero = 0;
    std::vector<int64_t> left;  // places

    void add(const Tally &other) {
        high = std::max(high, other.high);
        low = std::max(low, other.low);
        most = std::max(most, other.most);
        nonzero += other.nonzero;
        left.insert(left.end(), other.left.begin(), other.left.end());
    }
};

constexpr int64_t BLOCK = 512;  // what is kept of one stays in the nearest cache

// Steps are limited where they may have to be taken back, whatever they were. Weights may be left
// as they are, and their state, where the direction is not finite.
template <bool LIMITED, bool LEAVES>
void part(
    T *__restrict w, const T *__restrict g, T *const *state, const T *k, const T *grid, int64_t first,
    int64_t end, Tally &found) {
    DIRECTION_SETUP
    const T up = grid[0], down = grid[1], half = 0.5;
    const WORD limit = word(grid[2]), infinite = word(std::numeric_limits<T>::infinity());
    WORD high = 0, low = 0, most = 0, nonzero = 0;
    for (int64_t begin = first; begin < end; begin += BLOCK) {
        const int64_t length = std::min(BLOCK, end - begin);
        int8_t kept[LEAVES ? BLOCK : 1];
        WORD left = 0;
        for (int64_t j = 0; j < length; j++) {
            const int64_t i = begin + j;
            DIRECTION
            const WORD finite = LEAVES ? ((word(direction) & ~SIGN) - infinite) >> BITS : -1;
            const T h = number(word(direction) & finite);
            ADVANCE
            // Twice the step is rounded down, halved and rounded up: without a sum that rounds.
            T units = std::ceil(std::floor(h * up) * half);
            if (LIMITED)
                units = number(std::min<WORD>(word(units) & ~SIGN, limit) | (word(units) & SIGN));
            const T next = w[i] - units * down;
            w[i] = next;
            high = std::max<WORD>(high, word(h));
            low = std::max<WORD>(low, word(h) ^ SIGN);
            most = std::max<WORD>(most, word(next) & ~SIGN);
            nonzero += std::min<WORD>(word(units) & ~SIGN, 1);
            if (LEAVES) {
                kept[j] = finite;
                left |= ~finite;
            }
        }
        if (LEAVES && left)
            for (int64_t j = 0; j < length; j++)
                if (!kept[j])
                    found.left.push_back(begin + j);
    }
    found.high = high;
    found.low = low;
    found.most = most;
    found.nonzero = nonzero;
}

WORD peak_of(const T *t, int64_t n) {
    WORD most = 0;
    for (int64_t i = 0; i < n; i++)
        most = std::max<WORD>(most, word(t[i]) & ~SIGN);
    return most;
}

// Parts begin at whole cache lines of a tensor that does.
int64_t start(int64_t n, int thread, int threads) {
    return thread == threads ? n : n / 16 * thread / threads * 16;
}

}  // namespace

extern "C" {

struct Result {
    double high, low, most;
    int64_t nonzero, left;
    int64_t *places;  // of what was left, for `release`
};

void release(int64_t *places) { delete[] places; }

// Take the steps of tensors in their order, and return how many were taken. If it stops, one that
// moves nothing though its direction is not zero is the last. Each tensor has a grid: up, down and
// the limit.
int64_t step(
    int64_t count, T *const *w, const T *const *g, T *const *states, const int64_t *n, const T *k,
    const T *grids, int leaves, int stops, int threads, Result *results) {
    const auto take = leaves ? part<true, true> : grids[2] ? part<true, false> : part<false, false>;
    std::vector<Tally> found(threads * count);
    int64_t taken = stops ? 0 : count;
    bool goes_on = true;
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), all = omp_get_num_threads();
        for (int64_t t = 0; t < count && goes_on; t++) {
            Tally *const own = &found[threads * t];
            take(
                w[t], g[t], states + t * STATES, k, grids + 3 * t, start(n[t], thread, all),
                start(n[t], thread + 1, all), own[thread]);
            if (!stops)
                continue;
#pragma omp barrier
#pragma omp single
            {
                bool zero = true, still = true;
                for (int other = 0; other < all; other++) {
                    zero = zero && !own[other].high && !own[other].low;
                    still = still && !own[other].nonzero;
                }
                goes_on = zero || !still;
                taken = t + 1;
            }
        }
    }
    for (int64_t t = 0; t < taken; t++) {
        Tally all;
        for (int thread = 0; thread < threads; thread++)
            all.add(found[threads * t + thread]);
        const int64_t left = all.left.size();
        int64_t *const places = left ? new int64_t[left] : nullptr;
        std::copy(all.left.begin(), all.left.end(), places);
        results[t] = {number(all.high), number(all.low), number(all.most), all.nonzero, left, places};
    }
    return taken;
}

double peak(int64_t count, const T *const *tensors, const int64_t *n, int threads) {
    WORD most = 0;
#pragma omp parallel num_threads(threads) reduction(max : most)
    {
        const int thread = omp_get_thread_num(), all = omp_get_num_threads();
        for (int64_t t = 0; t < count; t++) {
            const int64_t first = start(n[t], thread, all);
            most = std::max(most, peak_of(tensors[t] + first, start(n[t], thread + 1, all) - first));
        }
    }
    return number(most);
}

}  // extern "C"
