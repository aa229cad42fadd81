// One step of one tensor in a single pass over memory: direction, quantizer, weights, counters.
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
    int64_t nonzero = 0, left = 0;

    void add(const Tally &other) {
        high = std::max(high, other.high);
        low = std::max(low, other.low);
        most = std::max(most, other.most);
        nonzero += other.nonzero;
        left += other.left;
    }
};

// Steps are limited where they may have to be taken back, whatever they were. Weights may be left
// as they are, and their state, where the direction is not finite.
template <bool LIMITED, bool LEAVES>
Tally part(
    T *__restrict w, const T *__restrict g, T *const *state, const T *k, const T *grid, int64_t n) {
    DIRECTION_SETUP
    const T up = grid[0], down = grid[1], half = 0.5;
    const WORD most = word(grid[2]);
    Tally found;
    WORD nonzero = 0, left = 0;
    const WORD infinite = word(std::numeric_limits<T>::infinity());
    for (int64_t i = 0; i < n; i++) {
        DIRECTION
        const WORD finite = LEAVES ? ((word(direction) & ~SIGN) - infinite) >> BITS : -1;
        const T h = number(word(direction) & finite);
        ADVANCE
        // Twice the step is rounded down, halved and rounded up: without a sum that rounds.
        T units = std::ceil(std::floor(h * up) * half);
        if (LIMITED)
            units = number(std::min<WORD>(word(units) & ~SIGN, most) | (word(units) & SIGN));
        const T next = w[i] - units * down;
        w[i] = next;
        found.high = std::max<WORD>(found.high, word(h));
        found.low = std::max<WORD>(found.low, word(h) ^ SIGN);
        found.most = std::max<WORD>(found.most, word(next) & ~SIGN);
        nonzero += std::min<WORD>(word(units) & ~SIGN, 1);
        left += 1 + finite;
    }
    found.nonzero = nonzero;
    found.left = left;
    return found;
}

// Four places at once are read faster than one.
WORD peak_of(const T *t, int64_t n) {
    const int64_t quarter = n / 4;
    WORD most[4] = {};
    for (int64_t i = 0; i < quarter; i++)
        for (int j = 0; j < 4; j++)
            most[j] = std::max<WORD>(most[j], word(t[i + j * quarter]) & ~SIGN);
    for (int64_t i = 4 * quarter; i < n; i++)
        most[0] = std::max<WORD>(most[0], word(t[i]) & ~SIGN);
    return *std::max_element(most, most + 4);
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
};

void step(
    T *w, const T *g, T *const *state, const T *k, const T *grid, int leaves, int64_t n, int threads,
    Result *result) {
    const auto take = leaves ? part<true, true> : grid[2] ? part<true, false> : part<false, false>;
    std::vector<Tally> found(threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        const int64_t first = start(n, thread, threads);
        const int64_t length = start(n, thread + 1, threads) - first;
        T *parts[STATES + 1] = {};
        for (int j = 0; j < STATES; j++)
            parts[j] = state[j] + first;
        found[thread] = take(w + first, g + first, parts, k, grid, length);
    }
    for (int thread = 1; thread < threads; thread++)
        found[0].add(found[thread]);
    const Tally &all = found[0];
    *result = {number(all.high), number(all.low), number(all.most), all.nonzero, all.left};
}

double peak(const T *t, int64_t n, int threads) {
    std::vector<WORD> found(threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        const int64_t first = start(n, thread, threads);
        found[thread] = peak_of(t + first, start(n, thread + 1, threads) - first);
    }
    return number(*std::max_element(found.begin(), found.end()));
}

}  // extern "C"
