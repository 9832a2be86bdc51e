/* One pass over the weights; what stands between at-signs is filled in by kernel_text.py.

   An item is a tensor, as longs: weights, direction in, gradient, rows, columns, where the result goes, then arrays.
   `sum` holds, for every mean over columns or the tensor, a double a column and one in all; `outs` what the blocks made
   of them; `rows_out` a value a row for every mean over rows. */
#include <stdint.h>
#include <stdlib.h>
#include <tgmath.h>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
static int omp_get_num_threads(void) { return 1; }
#endif
typedef @T@ T;

static inline float bf16(uint16_t h) {
  union { uint32_t i; float f; } v = { .i = (uint32_t)h << 16 };
  return v.f;
}

/* To the nearest, halves to even; what is no number stays none. */
static inline uint16_t to_bf16(float f) {
  union { float f; uint32_t i; } v = { .f = f };
  const uint32_t near = (v.i + 0x7fff + ((v.i >> 16) & 1)) >> 16;
  return (uint16_t)((v.i & 0x7fffffff) > 0x7f800000 ? (v.i >> 16) | 64 : near);
}

enum { STRIDE = @STRIDE@, OUTS = @OUTS@, ROW_OUTS = @ROW_OUTS@, LEVELS = @LEVELS@ };

static void sums(int level, const long *x, const double *num, long r0, long r1, double *sum, T *outs, T *rows_out) {
  const long rows = x[3], cols = x[4];
  (void)num; (void)sum; (void)outs; (void)rows_out; (void)rows;
@NUMBERS@
  for (long r = r0; r < r1; r++) {
    const T *W = (const T *)x[0] + r * cols, *U = (const T *)x[1] + r * cols, *G = (const T *)x[2] + r * cols;
    (void)W; (void)U; (void)G;
@POINTERS@
@SUMS@
  }
}

static void blocks(int level, const long *x, const double *num, const double *sum, T *outs, const T *rows_out) {
  const long rows = x[3], cols = x[4];
  (void)rows; (void)cols; (void)num; (void)sum; (void)outs; (void)rows_out;
@NUMBERS@
@BLOCKS@
}

static void apply(const long *x, const double *num, long r0, long r1, long c0, long c1, const T *outs,
                  const T *rows_out) {
  const long rows = x[3], cols = x[4];
  (void)outs; (void)rows_out; (void)num; (void)rows;
@NUMBERS@
  for (long r = r0; r < r1; r++) {
    const T *W = (const T *)x[0] + r * cols, *U = (const T *)x[1] + r * cols, *G = (const T *)x[2] + r * cols;
    T *OUT = (T *)x[5] + r * cols;
    (void)G; (void)W;
@POINTERS@
@ROWS@
@LOOP@
  }
}

/* Tasks: tensor, first row, last row, first column, last column, by one thread each. Big: tensors that all threads
   share. Every thread has a scratch of `width` doubles, of which the first `zeroed` are sums. */
void step(const long *items, const double *num, long tasks, const long *task, long bigs, const long *big, long width,
          long zeroed, double *scratch, long threads) {
  #pragma omp parallel num_threads(threads)
  {
    const long me = omp_get_thread_num(), all = omp_get_num_threads();
    double *mine = scratch + me * width;
    for (long b = 0; b < bigs; b++) {
      const long *x = items + STRIDE * big[b], rows = x[3], cols = x[4];
      const long r0 = rows * me / all, r1 = rows * (me + 1) / all;
      T *outs = (T *)(scratch + zeroed), *rows_out = outs + OUTS * (cols + 1);
      for (int level = 0; level < LEVELS; level++) {
        for (long c = 0; c < OUTS * (cols + 1); c++) mine[c] = 0;
        sums(level, x, num, r0, r1, mine, outs, rows_out);
        #pragma omp barrier
        #pragma omp single
        {
          for (long t = 1; t < all; t++)
            for (long c = 0; c < OUTS * (cols + 1); c++) scratch[c] += scratch[t * width + c];
          blocks(level, x, num, scratch, outs, rows_out);
        }
      }
      apply(x, num, r0, r1, 0, cols, outs, rows_out);
      #pragma omp barrier
    }
    #pragma omp for schedule(dynamic)
    for (long i = 0; i < tasks; i++) {
      const long *t = task + 5 * i, *x = items + STRIDE * t[0], cols = x[4];
      T *outs = (T *)(mine + zeroed), *rows_out = outs + OUTS * (cols + 1);
      for (int level = 0; level < LEVELS; level++) {
        for (long c = 0; c < OUTS * (cols + 1); c++) mine[c] = 0;
        sums(level, x, num, 0, x[3], mine, outs, rows_out);
        blocks(level, x, num, mine, outs, rows_out);
      }
      apply(x, num, t[1], t[2], t[3], t[4], outs, rows_out);
    }
  }
}
