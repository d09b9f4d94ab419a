// The compiled CPU path: what MindSpore calls, through ops.Custom(func_type="aot").
//
// Every function takes its tensors as arrays of pointers, numbers of axes, shapes and type names ("float32", "float16",
// "int32"), inputs first, and returns 0 or one of the codes below. Float tensors are float32 or float16, each on its
// own account (x, y and their gradients have one type); arithmetic is float32. Letters: N images, C channels, H x W
// plane.
//
// Results are bit-equal for any number of threads.
#pragma once

#include <cstdint>

extern "C" {

enum {
  NEONEXT_OK = 0,
  NEONEXT_BAD_COUNT = 101,   // number of tensors
  NEONEXT_BAD_TYPE = 102,    // element type of a tensor
  NEONEXT_BAD_SHAPE = 103,   // shape of a tensor
  NEONEXT_BAD_LAYOUT = 104,  // contents of the layout tensor
  NEONEXT_NO_MEMORY = 105,
};

#define NEONEXT_PARAMETERS                                                                                    \
  [[maybe_unused]] int nparam, [[maybe_unused]] void **params, [[maybe_unused]] int *ndims,                   \
      [[maybe_unused]] int64_t **shapes, [[maybe_unused]] const char **dtypes, [[maybe_unused]] void *stream, \
      [[maybe_unused]] void *extra

// Y[n, c] = A[c] X[n, c] B[c] (+ bias[c]).
// Inputs: x (N, C, H, W); layout; for every group left (C_g, h_out, h_in) and right (C_g, w_in, w_out); bias (C) if the
// layout says so. Output: y (N, C, H', W'). x may have m C planes an image: m in a row for every channel.
// The layout is int32: has_bias, then for every group channels, h_out, h_in, w_in, w_out, shift_left, shift_right.
int neocell_forward(NEONEXT_PARAMETERS);

// Inputs: x, dy, layout, left and right of every group. Outputs: dx, dleft and dright of every group, dbias.
int neocell_backward(NEONEXT_PARAMETERS);

// Weights in the form that products read them in, so that they are not brought into it in every call. Input: w (rows,
// depth), float32 or float16. Output: int32, of neonext_packed_size(rows, depth). Forward passes of the layers below,
// but for mlp_forward_training, take it in the place of the weight, on the machine and in the precision (see the end)
// that it was made for.
int neonext_pack(NEONEXT_PARAMETERS);
int64_t neonext_packed_size(int rows, int depth);

// y = w2 gelu(w1 x + b1) + b2 at every pixel, gelu(v) = v (1 + erf(v / sqrt(2))) / 2.
// Inputs, all of one type: x (N, C, ...); w1 (hidden, C); b1 (hidden); w2 (C, hidden); b2 (C). Output: y, like x.
// A branch, y = trunk + keep (w2 gelu(w1 z + b1) + b2) with z = (x - centre) scale + shift, has five more inputs:
// trunk, like x; keep (N), centre, scale and shift (C), float32.
int mlp_forward(NEONEXT_PARAMETERS);

// The same. Outputs: y, and what GELU is taken of for the backward pass, float32 (tiles, hidden, 16): the pixels of all
// images one after another in tiles of 16, b1 after the last.
int mlp_forward_training(NEONEXT_PARAMETERS);

// Inputs: x, the hidden values, dy, w1, w2; of a branch keep, centre, scale and shift. Outputs: the gradient of what w1
// is multiplied with, x or z; dw1, db1, dw2, db2. That of trunk is dy.
int mlp_backward(NEONEXT_PARAMETERS);

// y = w x + b at every pixel.
// Inputs, all of one type: x (N, C, ...); w (C', C); b (C'). Output: y (N, C', ...).
int pointwise_forward(NEONEXT_PARAMETERS);

// Inputs: x, dy, w. Outputs: dx, dw, db.
int pointwise_backward(NEONEXT_PARAMETERS);

// The same with two tensors (N, C' / 2, ...), the halves of y, for it; and those of dy.
int halves_forward(NEONEXT_PARAMETERS);
int halves_backward(NEONEXT_PARAMETERS);

// y = trunk + keep (w (gelu(u) z) + b) at every pixel.
// Inputs: of one type u, z (N, C, ...); w (C', C); b (C'); trunk (N, C', ...); keep (N), float32. Output: y, like
// trunk.
int gated_forward(NEONEXT_PARAMETERS);

// Inputs: u, z, dy, w, keep. Outputs: du, dz, dw, db. That of trunk is dy.
int gated_backward(NEONEXT_PARAMETERS);

// The same, with what enters a product rounded to bfloat16 (weights, x or z, gelu() or gelu() z; in the backward pass
// also dy and the gradient of the MLP's hidden values, whose sum is db1). Sums are float32; gelu() and its slope are as
// exact as bfloat16. What is subnormal may count as zero. The MLP's hidden values are kept in bfloat16.
int neonext_pack_bfloat16(NEONEXT_PARAMETERS);
int64_t neonext_packed_size_bfloat16(int rows, int depth);
int mlp_forward_bfloat16(NEONEXT_PARAMETERS);
int mlp_forward_training_bfloat16(NEONEXT_PARAMETERS);
int mlp_backward_bfloat16(NEONEXT_PARAMETERS);
int pointwise_forward_bfloat16(NEONEXT_PARAMETERS);
int pointwise_backward_bfloat16(NEONEXT_PARAMETERS);
int halves_forward_bfloat16(NEONEXT_PARAMETERS);
int halves_backward_bfloat16(NEONEXT_PARAMETERS);
int gated_forward_bfloat16(NEONEXT_PARAMETERS);
int gated_backward_bfloat16(NEONEXT_PARAMETERS);

// BatchNorm in training: y = (x - mean) factor + beta, where factor = gamma scale and scale = 1 / sqrt(variance + eps),
// with mean and variance of every channel over images and pixels. Inputs: (eps, kept); x (N, C, ...); all others
// float32 (C): gamma; beta; moving mean and variance, which are changed in place to kept moving + (1 - kept) now.
// Of the variance that is n / (n - 1) times the batch's, n values. Outputs: y; mean; scale; factor.
int batch_norm_forward(NEONEXT_PARAMETERS);

// The same without y. Outputs: mean; scale; factor.
int batch_norm_statistics(NEONEXT_PARAMETERS);

// y = (x - mean) factor + beta. Inputs: x (N, C, ...); mean, factor, beta (C), float32. Output: y.
int batch_norm_apply(NEONEXT_PARAMETERS);

// Inputs: x; dy; mean; scale; factor. Outputs: dx; dgamma; dbeta.
int batch_norm_backward(NEONEXT_PARAMETERS);

// Inputs: tensors, float32, N values in all. Output: (N), they end to end.
int neonext_join(NEONEXT_PARAMETERS);

// The sum of squares of x, float32: (N) to (1).
int neonext_sum_of_squares(NEONEXT_PARAMETERS);

// The next three change what they are given, all float32, in place: vectors (N), and parameters w, N values in all,
// which lie end to end beside them. Output: (1), no more than a sign that it is done.
//
// One update by Adam with decoupled weight decay: g' = factor g; m += (1 - beta1) (g' - m); v += (1 - beta2) (g'^2 -
// v); w = kept w - step m / (sqrt(v) + eps). Inputs: (whether, factor, kept, step, beta1, beta2, eps), where `whether`
// of 0 changes nothing; g, m, v; parameters.
int neonext_adamw(NEONEXT_PARAMETERS);

// One update with momentum and L2 weight decay: v = momentum v + factor g + decay w; w -= step v.
// Inputs: (whether, factor, decay, step, momentum); g, v; parameters.
int neonext_sgd(NEONEXT_PARAMETERS);

// a += rate (w - a). Inputs: (rate); a; parameters, which stay as they are.
int neonext_average(NEONEXT_PARAMETERS);

// y = x, float32, any shape.
int neonext_copy(NEONEXT_PARAMETERS);

// The most that the machine computes: all threads multiply and add in registers. Input: how often, float32 (1,).
// Output: 10^9 operations a second, float32 (1,). In bfloat16: by what neonext_bfloat16() names.
int neonext_peak(NEONEXT_PARAMETERS);
int neonext_peak_bfloat16(NEONEXT_PARAMETERS);

// Number of threads; 0 goes back to NEONEXT_NUM_THREADS or, without it, the number of processors.
void neonext_set_threads(int count);
int neonext_threads();

// "avx512", "avx2", "neon" or "plain".
const char* neonext_simd();

// How products in bfloat16 are computed here: "amx", "avx512_bf16", or "rounded", in float32.
const char* neonext_bfloat16();

}  // extern "C"
