// The activations of gated MLPs (Shazeer, 2020), on eight floats.
#pragma once
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

struct Silu {
  f32x8 operator()(f32x8 x) const { return x / (splat(1.0f) + exp(splat(0.0f) - x)); }
};

struct GeluTanh {
  f32x8 operator()(f32x8 x) const {
    const f32x8 inner = splat(0.797884561f) * fma(splat(0.044715f) * x * x, x, x);  // sqrt(2 / pi)
    return splat(0.5f) * x * (splat(1.0f) + tanh(inner));
  }
};

// Few models use it, so the C library's erf will do.
struct GeluErf {
  f32x8 operator()(f32x8 x) const {
    float t[kLanes];
    store(t, x);
    for (float& v : t) v = 0.5f * v * (1.0f + std::erf(v * 0.707106781f));
    return load(t);
  }
};

// Calls f with the activation of that kind.
template <typename F>
void with_gate(Gate kind, F f) {
  if (kind == Gate::silu) f(Silu());
  else if (kind == Gate::gelu_tanh) f(GeluTanh());
  else f(GeluErf());
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline
