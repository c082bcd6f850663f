// Plain products: the bases as matrices whose entries are looked up. They take any size.
#pragma once

#include "layer.cuh"

namespace {

struct Basis {  // frequency k at position i
  Axis axis;
  __device__ float operator()(int64_t k, int64_t i) const {
    const uint64_t turns = static_cast<uint64_t>(2 * i + 1) * static_cast<uint64_t>(k + axis.sine);
    const uint64_t whole = 4 * static_cast<uint64_t>(axis.features);
    uint64_t index = whole <= 131072 ? static_cast<uint32_t>(turns) % static_cast<uint32_t>(whole) : turns % whole;
    if (axis.sine) index = index >= whole / 4 ? index - whole / 4 : index + 3 * (whole / 4);
    const bool half = k == (axis.sine ? axis.features - 1 : 0);
    return axis.cosines[index] * axis.norm * (half ? kRootHalf : 1.0f);
  }
};

template <typename T>
struct Rows {  // a row-major matrix
  const T* data;
  int64_t pitch;
  __device__ float operator()(int64_t row, int64_t column) const { return to_float(data[row * pitch + column]); }
};

template <typename Matrix>
struct Transposed {
  Matrix matrix;
  __device__ float operator()(int64_t row, int64_t column) const { return matrix(column, row); }
};

template <typename T>
struct Result {
  T* data;
  const T* bias;
  int64_t pitch;
  __device__ void operator()(int64_t row, int64_t column, float value) const {
    data[row * pitch + column] = from_float<T>(value + (bias ? to_float(bias[column]) : 0.0f));
  }
};

}  // namespace
