// std::visit over a closed set, one lambda per alternative.
#pragma once

namespace stoker {
template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;
}  // namespace stoker
