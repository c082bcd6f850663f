// Cosine transforms by a complex FFT of half the length: the arithmetic between two barriers, as a thread sees it.
//
// A row of n = 2 N values is N complex points, N = 2^log. Its N / 16 threads hold 16 points each: point t + e N / 16 is
// number e of thread t. A pass of Stockham's FFT (autosort, so no bit reversal) multiplies by twiddles and transforms 16
// points in registers (2, 4 or 8 in the last pass where log is no multiple of 4); then all threads exchange points
// through a buffer. Everything here is also compiled for the host, where tests run it thread by thread.
//
// `cosines` [4 n] is cos(2 pi m / 4n): every angle here is a whole multiple of a turn / 4n, so none is ever rounded.
#pragma once

#ifdef __CUDACC__
#define SPECTRAL_FUNCTION __host__ __device__ __forceinline__
#define SPECTRAL_UNROLL _Pragma("unroll")
#else
#define SPECTRAL_FUNCTION inline
#define SPECTRAL_UNROLL
#endif

constexpr int kPointsPerThread = 16;
constexpr float kRootHalf = 0.70710678118654752f;

struct alignas(8) Complex {
  float re, im;
};

SPECTRAL_FUNCTION Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
SPECTRAL_FUNCTION Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
SPECTRAL_FUNCTION Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
SPECTRAL_FUNCTION Complex conjugate(Complex a) { return {a.re, -a.im}; }
SPECTRAL_FUNCTION Complex times_i(Complex a) { return {-a.im, a.re}; }
SPECTRAL_FUNCTION Complex swapped(Complex a) { return {a.im, a.re}; }

// e^(2 pi i index / 4n) for 0 <= index < 4n = 8N; a sine is the cosine three quarters of a turn on.
SPECTRAL_FUNCTION Complex turn(const float* cosines, int index, int log) {
  return {cosines[index], cosines[(index + (6 << log)) & ((8 << log) - 1)]};
}

// Where point i lies in the buffer: one point of padding after 16, so that strides of 16 spread over all banks.
// place(i + j) = place(i) + place(j) where no bit of i and j is set in both; one of them is known to the compiler then.
SPECTRAL_FUNCTION int place(int i) { return i + (i >> 4); }

// A row's share of the buffer, in points.
SPECTRAL_FUNCTION int padded(int log) { return 17 << (log - 4); }

SPECTRAL_FUNCTION void transform4(Complex& a, Complex& b, Complex& c, Complex& d) {
  const Complex even = a + c, odd = a - c, sum = b + d, turned = times_i(b - d);
  a = even + sum;
  b = odd - turned;
  c = even - sum;
  d = odd + turned;
}

// v := sum_j v[j] e^(-2 pi i j r / R), in natural order.
SPECTRAL_FUNCTION void transform(Complex (&v)[2]) {
  const Complex first = v[0];
  v[0] = first + v[1];
  v[1] = first - v[1];
}

SPECTRAL_FUNCTION void transform(Complex (&v)[4]) { transform4(v[0], v[1], v[2], v[3]); }

SPECTRAL_FUNCTION void transform(Complex (&v)[8]) {
  transform4(v[0], v[2], v[4], v[6]);
  transform4(v[1], v[3], v[5], v[7]);
  const Complex odd[4] = {v[1],
                          {(v[3].re + v[3].im) * kRootHalf, (v[3].im - v[3].re) * kRootHalf},
                          {v[5].im, -v[5].re},
                          {(v[7].im - v[7].re) * kRootHalf, (-v[7].re - v[7].im) * kRootHalf}};
  const Complex even[4] = {v[0], v[2], v[4], v[6]};
  SPECTRAL_UNROLL
  for (int k = 0; k < 4; ++k) {
    v[k] = even[k] + odd[k];
    v[k + 4] = even[k] - odd[k];
  }
}

SPECTRAL_FUNCTION void transform(Complex (&v)[16]) {
  constexpr float kCosine = 0.92387953251128674f, kSine = 0.38268343236508977f;  // of pi / 8
  SPECTRAL_UNROLL
  for (int k = 0; k < 4; ++k) transform4(v[k], v[k + 4], v[k + 8], v[k + 12]);
  v[5] = v[5] * Complex{kCosine, -kSine};
  v[6] = {(v[6].re + v[6].im) * kRootHalf, (v[6].im - v[6].re) * kRootHalf};
  v[7] = v[7] * Complex{kSine, -kCosine};
  v[9] = {(v[9].re + v[9].im) * kRootHalf, (v[9].im - v[9].re) * kRootHalf};
  v[10] = {v[10].im, -v[10].re};
  v[11] = {(v[11].im - v[11].re) * kRootHalf, (-v[11].re - v[11].im) * kRootHalf};
  v[13] = v[13] * Complex{kSine, -kCosine};
  v[14] = {(v[14].im - v[14].re) * kRootHalf, (-v[14].re - v[14].im) * kRootHalf};
  v[15] = v[15] * Complex{-kCosine, kSine};
  SPECTRAL_UNROLL
  for (int k = 0; k < 4; ++k) transform4(v[4 * k], v[4 * k + 1], v[4 * k + 2], v[4 * k + 3]);
  SPECTRAL_UNROLL
  for (int k = 0; k < 4; ++k) {  // the 4 x 4 results stand transposed
    SPECTRAL_UNROLL
    for (int j = k + 1; j < 4; ++j) {
      const Complex held = v[4 * k + j];
      v[4 * k + j] = v[4 * j + k];
      v[4 * j + k] = held;
    }
  }
}

// v[r] *= w^r, powers by products of at most four.
template <int kRadix>
SPECTRAL_FUNCTION void twist(Complex (&v)[kRadix], Complex w) {
  v[1] = v[1] * w;
  if constexpr (kRadix > 2) {
    const Complex second = w * w, third = second * w, fourth = second * second;
    v[2] = v[2] * second;
    v[3] = v[3] * third;
    Complex power = fourth;
    SPECTRAL_UNROLL
    for (int r = 4; r < kRadix; r += 4) {
      v[r] = v[r] * power;
      v[r + 1] = v[r + 1] * (power * w);
      v[r + 2] = v[r + 2] * (power * second);
      v[r + 3] = v[r + 3] * (power * third);
      power = power * fourth;
    }
  }
}

// One pass over the 16 points of thread t. done: log of the transform length reached by the passes before.
template <int kRadix>
SPECTRAL_FUNCTION void pass(Complex (&v)[kPointsPerThread], int t, int done, int log, const float* cosines) {
  constexpr int kGroups = kPointsPerThread / kRadix;
  constexpr int kLogRadix = kRadix == 16 ? 4 : kRadix == 8 ? 3 : kRadix == 4 ? 2 : 1;
  SPECTRAL_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    Complex part[kRadix];
    SPECTRAL_UNROLL
    for (int r = 0; r < kRadix; ++r) part[r] = v[group + r * kGroups];
    if (done > 0) {
      const int step = (t + (group << (log - 4))) & ((1 << done) - 1);
      twist<kRadix>(part, conjugate(turn(cosines, step << (log + 3 - done - kLogRadix), log)));
    }
    transform(part);
    SPECTRAL_UNROLL
    for (int r = 0; r < kRadix; ++r) v[group + r * kGroups] = part[r];
  }
}

// The last pass: its results are points t + e N / 16 again.
SPECTRAL_FUNCTION void last_pass(Complex (&v)[kPointsPerThread], int t, int done, int log, const float* cosines) {
  if (log - done == 4) {
    pass<16>(v, t, done, log, cosines);
  } else if (log - done == 3) {
    pass<8>(v, t, done, log, cosines);
  } else if (log - done == 2) {
    pass<4>(v, t, done, log, cosines);
  } else {
    pass<2>(v, t, done, log, cosines);
  }
}

// Results of a pass of radix 16 to where the next pass looks for them.
SPECTRAL_FUNCTION void scatter(const Complex (&v)[kPointsPerThread], Complex* buffer, int t, int done) {
  const int first = ((t >> done) << (done + 4)) + (t & ((1 << done) - 1));
  SPECTRAL_UNROLL
  for (int r = 0; r < kPointsPerThread; ++r) buffer[place(first) + place(r << done)] = v[r];
}

SPECTRAL_FUNCTION void gather(Complex (&v)[kPointsPerThread], const Complex* buffer, int t, int log) {
  SPECTRAL_UNROLL
  for (int e = 0; e < kPointsPerThread; ++e) v[e] = buffer[place(t) + place(e << (log - 4))];
}

SPECTRAL_FUNCTION void put_back(const Complex (&v)[kPointsPerThread], Complex* buffer, int t, int log) {
  SPECTRAL_UNROLL
  for (int e = 0; e < kPointsPerThread; ++e) buffer[place(t) + place(e << (log - 4))] = v[e];
}

// Makhoul 1980: with v = x[0], x[2], ..., x[3], x[1] and V its DFT, X[k] = Re(e^(-i pi k / 2n) V[k]). The pairs
// v[2m] + i v[2m + 1] are the N points, so that x[4m .. 4m + 3] are both parts of points m and N - 1 - m.
// From the points' DFT C at k and N - k (`mirror`), 0 <= k <= N / 2, four sums of x[i] cos(pi (2i + 1) k' / 2n), doubled:
struct Quadruple {
  float at_k, at_n_less_k, at_half_less_k, at_half_more_k;  // k' = k, n - k, N - k, N + k
};

SPECTRAL_FUNCTION Quadruple cosine_sums(Complex c, Complex mirror, Complex turn_k) {
  const Complex q = conjugate(turn_k), second = q * q;
  const Complex even = q * (c + conjugate(mirror));
  const Complex odd = q * ((second * second) * conjugate(times_i(conjugate(c) - mirror)));
  const Complex sum = even + odd, rest = even - odd;
  return {sum.re, -sum.im, (rest.re - rest.im) * kRootHalf, (rest.re + rest.im) * kRootHalf};
}

// The way back: point k, 0 <= k < N, of the spectrum whose unscaled inverse DFT is, in Makhoul's order, twice the sums
// over k of u[k] cos(pi (2i + 1) k / 2n).
SPECTRAL_FUNCTION Complex spectrum(const float* u, int k, int log, Complex turn_k) {
  const int half = 1 << log, n = 2 << log;
  const Complex a = k ? Complex{u[k], -u[n - k]} : Complex{2.0f * u[0], 0.0f};
  const float low = u[half - k], high = u[half + k];
  const Complex b = {(low + high) * kRootHalf, (high - low) * kRootHalf};
  const Complex second = turn_k * turn_k;
  return turn_k * ((a + b) + times_i((second * second) * (a - b)));
}
