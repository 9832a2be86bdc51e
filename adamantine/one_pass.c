/* One pass over the weights; what stands between at-signs is filled in by one_pass.py. */
#include <tgmath.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
static int omp_get_num_threads(void) { return 1; }
#endif
typedef @T@ T;
enum { STRIDE = @STRIDE@ };

static void sums(const long *x, const double *num, long r0, long r1, double *restrict column, double *total) {
  const long cols = x[4];
  double whole = 0;
  (void)num;
@NUMBERS@
  for (long r = r0; r < r1; r++) {
    const T *W = (const T *)x[0] + r * cols, *U = (const T *)x[1] + r * cols, *G = (const T *)x[2] + r * cols;
    T part = 0;
    (void)W; (void)U; (void)G; (void)column;
@POINTERS@
    #pragma omp simd reduction(+ : part)
    for (long c = 0; c < cols; c++) {
@OF@
      @COLUMN@;
      @TOTAL@;
    }
    whole += part;
  }
  *total = whole;
}

static void blocks(const long *x, const double *num, const double *column, double total, T *scratch) {
  const long rows = x[3], cols = x[4];
  (void)rows; (void)cols; (void)column; (void)total; (void)scratch;
@NUMBERS@
@BLOCKS@
}

static void apply(const long *x, const double *num, long r0, long r1, long c0, long c1, const T *scratch) {
  const long cols = x[4];
  (void)scratch;
@NUMBERS@
  for (long r = r0; r < r1; r++) {
    const T *W = (const T *)x[0] + r * cols;
    T *OUT = (T *)x[5] + r * cols;
    const T *restrict U = (const T *)x[1] + r * cols, *restrict G = (const T *)x[2] + r * cols;
    (void)G;
@POINTERS@
@ROWS@
    #pragma omp simd
    for (long c = c0; c < c1; c++) {
      T u = U[c];
      const T g = G[c], w = W[c];
      (void)g; (void)w;
@BODIES@
      OUT[c] = @OUT@;
    }
  }
}

/* Tasks: tensor, first row, last row, first column, last column, by one thread each. Big: tensors that all threads
   share, with a scratch of `width` doubles a thread. */
void step(const long *items, const double *num, long tasks, const long *task, long bigs, const long *big, long width,
          double *scratch, long threads) {
  #pragma omp parallel num_threads(threads)
  {
    const long me = omp_get_thread_num(), all = omp_get_num_threads();
    double *mine = scratch + 2 * me * width;
    (void)mine;
    for (long b = 0; b < bigs; b++) {
      const long *x = items + STRIDE * big[b], rows = x[3], cols = x[4];
      const long r0 = rows * me / all, r1 = rows * (me + 1) / all;
      for (long c = 0; c <= cols; c++) mine[c] = 0;
      sums(x, num, r0, r1, mine, mine + cols);
      #pragma omp barrier
      #pragma omp single
      {
        for (long t = 1; t < all; t++)
          for (long c = 0; c <= cols; c++) scratch[c] += scratch[2 * t * width + c];
        blocks(x, num, scratch, scratch[cols], (T *)(scratch + width));
      }
      apply(x, num, r0, r1, 0, cols, (const T *)(scratch + width));
      #pragma omp barrier
    }
    #pragma omp for schedule(dynamic)
    for (long i = 0; i < tasks; i++) {
      const long *t = task + 5 * i, *x = items + STRIDE * t[0];
      if (@PASSES@) {
        for (long c = 0; c <= x[4]; c++) mine[c] = 0;
        sums(x, num, 0, x[3], mine, mine + x[4]);
        blocks(x, num, mine, mine[x[4]], (T *)(mine + width));
      }
      apply(x, num, t[1], t[2], t[3], t[4], (const T *)(mine + width));
    }
  }
}
