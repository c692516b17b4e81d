// The Winograd convolution and its gradients, in blocks of tiles whose transforms and products stay in the second-level cache.
#include "winograd.h"

#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <vector>

#include "winograd-products.h"
#include "winograd-transforms.h"
#include "winograd-weights.h"

#ifdef VARIDIFF_WINOGRAD

namespace varidiff::winograd {

namespace {

using c10::BFloat16;

/** Bytes of transformed tiles and products that a thread works on at a time; caches of this kind hold 1 MB and more. */
constexpr int64_t kBlockBytes = 400 << 10;

/** Between the 16 parts of a block, so that they do not fall on the same lines of the first-level cache. */
constexpr int64_t kPad = 16;

/** Memory for one thread; what it held is unknown. */
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : memory_(c10::GetCPUAllocator()->allocate(count * sizeof(T))) {}
  T* data() const { return static_cast<T*>(memory_.get()); }

 private:
  c10::DataPtr memory_;
};

/** All rows of tiles of all images, cut into blocks of `rows`, as many for each thread. */
struct Blocks {
  int64_t total, rows;
  Blocks(const Shape& shape, int64_t bytesPerTile) : total(shape.images * shape.tileRows()) {
    const int64_t most = std::max<int64_t>(1, kBlockBytes / (bytesPerTile * shape.tileColumns()));
    const int64_t threads = at::get_num_threads();
    const int64_t count = ((total + most - 1) / most + threads - 1) / threads * threads;
    rows = (total + count - 1) / count;
  }
  int64_t count() const { return (total + rows - 1) / rows; }
};

template <typename T>
TileRow<T> rowAt(const T* images, const Shape& shape, int64_t channels, int64_t row) {
  const int64_t image = row / shape.tileRows();
  return {images + image * shape.height * shape.width * channels, shape.height, shape.width, channels, row % shape.tileRows()};
}

template <typename T, typename X, typename Y>
void convolveBlock(const Shape& shape, const X* x, const uint32_t* u, const float* bias, const Y* residual, Y* y, int64_t begin,
                   int64_t end, T* v, float* m) {
  const int64_t columns = shape.tileColumns(), tiles = (end - begin) * columns, steps = shape.in / kStep<T>;
  const int64_t vStride = tiles * shape.in + kPad * kStep<T>, vectors = shape.out / kLanes;
  for (int64_t row = begin; row < end; ++row) {
    const TileRow<X> from = rowAt(x, shape, shape.in, row);
    for (int f = 0; f < 4; ++f)
      for (int64_t c = 0; c < shape.in; c += kLanes)
        transformInputs(f, from, c, Places<T>{v + 4 * f * vStride + (row - begin) * columns * shape.in + c, vStride, shape.in});
  }
  for (int64_t begun = 0; begun < vectors; begun += kPanel) {
    const Panel panel = panelAt(shape.out, begun);
    const int64_t width = panel.vectors * kLanes, mStride = tiles * width + kPad;
    for (int f = 0; f < 16; ++f)
      product<T>({reinterpret_cast<const uint32_t*>(v + f * vStride), steps, 1},
                 u + (f * shape.out + panel.begin * kLanes) * steps, m + f * mStride, width, tiles, panel.vectors, steps);
    for (int64_t row = begin; row < end; ++row) {
      const TileRow<Y> at = rowAt<Y>(y, shape, shape.out, row);
      const int64_t image = at.image - y;
      transformOutputs(m + (row - begin) * columns * width, mStride, panel.vectors, at, panel.begin * kLanes, bias,
                          residual ? residual + image : nullptr, y + image);
    }
  }
}

/** Units that one of the 16 parts of V takes, and of the transformed gradients, for the tiles of `rows` rows. */
template <typename T>
int64_t slotsOf(int64_t rows, int64_t columns) {
  return kStep<T> == 1 ? rows * columns : rows * (columns / 2) + (columns % 2) * ((rows + 1) / 2);
}

/** Where a row of tiles puts what becomes of it: `width` units a slot, slots being tiles or pairs of them. */
template <typename T>
auto placesOf(uint32_t* data, int64_t stride, int64_t width, int64_t row, int64_t rows, int64_t columns) {
  if constexpr (kStep<T> == 1) return Places<T>{reinterpret_cast<T*>(data) + row * columns * width, stride, width};
  else return PairPlaces{data + row * (columns / 2) * width, stride, width, data + (rows * (columns / 2) + row / 2) * width, row % 2 == 1};
}

/** Adds the share of rows of tiles `begin` to `end` to `sums`, the gradient of U. */
template <typename T>
void gradientsOfBlock(const Shape& shape, const T* x, const T* dy, int64_t begin, int64_t end, uint32_t* v, uint32_t* d, float* sums) {
  const int64_t rows = end - begin, columns = shape.tileColumns(), slots = slotsOf<T>(rows, columns);
  const int64_t vStride = slots * shape.in + kPad, dStride = slots * shape.out + kPad;
  for (int f = 0; f < 4; ++f) {
    for (int64_t row = 0; row < rows; ++row) {
      const TileRow<T> input = rowAt(x, shape, shape.in, begin + row), gradient = rowAt(dy, shape, shape.out, begin + row);
      for (int64_t c = 0; c < shape.in; c += kLanes)
        transformInputs(f, input, c, placesOf<T>(v + c * slots, vStride, kLanes, row, rows, columns));
      for (int64_t k = 0; k < shape.out; k += kLanes) {
        const Panel panel = panelAt(shape.out, k / kLanes);
        uint32_t* to = d + panel.begin * kLanes * slots + k - panel.begin * kLanes;
        transformGradients(f, gradient, k, placesOf<T>(to, dStride, panel.vectors * kLanes, row, rows, columns));
      }
    }
    for (int g = 0; g < 4; ++g)
      for (int64_t begun = 0; begun < shape.out / kLanes; begun += kPanel) {
        const Panel panel = panelAt(shape.out, begun);
        const int64_t width = panel.vectors * kLanes;
        float* to = sums + (4 * f + g) * shape.in * shape.out + panel.begin * kLanes * shape.in;
        for (int64_t c = 0; c < shape.in; c += kLanes)
          productAdded<T>({v + g * vStride + c * slots, 1, kLanes}, d + g * dStride + panel.begin * kLanes * slots, to + c * width,
                          width, kLanes, panel.vectors, slots);
      }
  }
}

}  // namespace

template <typename T>
int64_t transformedSize(int64_t in, int64_t out) {
  return 16 * in * out / kStep<T>;
}

template <typename T>
void transformWeights(const float* weights, int64_t in, int64_t out, Direction direction, uint32_t* u) {
  const int64_t outputs = direction == Direction::Forward ? out : in;
  at::parallel_for(0, outputs / kLanes, 1, [&](int64_t begin, int64_t end) {
    transformWeights<T>(weights, {in, out}, direction, begin, end, u);
  });
}

template <typename T, typename X, typename Y>
void convolve(const Shape& shape, const X* x, const uint32_t* u, const float* bias, const Y* residual, Y* y) {
  const Blocks blocks(shape, 16 * (shape.in * sizeof(T) + std::min(shape.out, kPanel * kLanes) * sizeof(float)));
  at::parallel_for(0, blocks.count(), 1, [&](int64_t first, int64_t last) {
    const int64_t tiles = blocks.rows * shape.tileColumns();
    const Scratch<T> v(16 * (tiles * shape.in + kPad * kStep<T>));
    const Scratch<float> m(16 * (tiles * kPanel * kLanes + kPad));
    for (int64_t b = first; b < last; ++b)
      convolveBlock<T>(shape, x, u, bias, residual, y, b * blocks.rows, std::min(blocks.total, (b + 1) * blocks.rows), v.data(), m.data());
  });
}

template <typename T>
void gradients(const Shape& shape, const T* x, const T* dy, float* weights, float* bias) {
  const int64_t total = shape.images * shape.tileRows(), columns = shape.tileColumns();
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), total), sumSize = 16 * shape.in * shape.out;
  const int64_t share = (total + threads - 1) / threads;
  const int64_t most = std::max<int64_t>(1, kBlockBytes / (4 * (shape.in + shape.out) * sizeof(T) * columns));
  const int64_t rows = std::min(share, most);
  const Scratch<float> sums(threads * sumSize), biases(threads * shape.out);
  at::parallel_for(0, threads, 1, [&](int64_t first, int64_t last) {
    const int64_t slots = slotsOf<T>(rows, columns);
    const Scratch<uint32_t> v(4 * (slots * shape.in + kPad)), d(4 * (slots * shape.out + kPad));
    for (int64_t thread = first; thread < last; ++thread) {
      float *sum = sums.data() + thread * sumSize, *ofBias = biases.data() + thread * shape.out;
      std::fill_n(sum, sumSize, 0.0f);
      std::fill_n(ofBias, shape.out, 0.0f);
      const int64_t end = std::min(total, (thread + 1) * share);
      for (int64_t begin = thread * share; begin < end; begin += rows) {
        const int64_t until = std::min(end, begin + rows);
        gradientsOfBlock(shape, x, dy, begin, until, v.data(), d.data(), sum);
        if (bias)
          for (int64_t row = begin; row < until; ++row) addPositions(rowAt(dy, shape, shape.out, row), ofBias);
      }
    }
  });
  std::vector<const float*> parts;
  for (int64_t thread = 0; thread < threads; ++thread) parts.push_back(sums.data() + thread * sumSize);
  at::parallel_for(0, shape.out / kLanes, 1, [&](int64_t begin, int64_t end) {
    gatherWeights(parts.data(), threads, {shape.in, shape.out}, begin, end, weights);
  });
  for (int64_t k = 0; bias && k < shape.out; ++k) {
    bias[k] = 0;
    for (int64_t thread = 0; thread < threads; ++thread) bias[k] += biases.data()[thread * shape.out + k];
  }
}

template int64_t transformedSize<float>(int64_t, int64_t);
template int64_t transformedSize<BFloat16>(int64_t, int64_t);
template void transformWeights<float>(const float*, int64_t, int64_t, Direction, uint32_t*);
template void transformWeights<BFloat16>(const float*, int64_t, int64_t, Direction, uint32_t*);
template void convolve<float>(const Shape&, const float*, const uint32_t*, const float*, const float*, float*);
template void convolve<BFloat16>(const Shape&, const BFloat16*, const uint32_t*, const float*, const BFloat16*, BFloat16*);
template void convolve<BFloat16>(const Shape&, const BFloat16*, const uint32_t*, const float*, const float*, float*);
template void convolve<BFloat16>(const Shape&, const float*, const uint32_t*, const float*, const float*, float*);
template void gradients<float>(const Shape&, const float*, const float*, float*, float*);
template void gradients<BFloat16>(const Shape&, const BFloat16*, const BFloat16*, float*, float*);

}  // namespace varidiff::winograd

#endif
