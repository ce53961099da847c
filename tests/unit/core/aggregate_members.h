// The members of any plain struct, so that a test walks all of them, also those that are added
// after it was written. Structs without bases and C arrays, of at most 16 members.
#pragma once

#include <cstddef>
#include <optional>
#include <tuple>

namespace stoker {
namespace members_detail {

struct AnyValue {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor): never called, only asked for
};
/// Apart, because AnyValue may become an optional as well as what is in it.
struct AnyOptional {
  template <class T>
  operator std::optional<T>() const;  // NOLINT(google-explicit-constructor)
};

template <class T, class... Filled>
constexpr std::size_t count() {
  if constexpr (requires { T{Filled{}..., AnyValue{}}; }) {
    return count<T, Filled..., AnyValue>();
  } else if constexpr (requires { T{Filled{}..., AnyOptional{}}; }) {
    return count<T, Filled..., AnyOptional>();
  } else {
    return sizeof...(Filled);
  }
}

}  // namespace members_detail

template <class T>
inline constexpr std::size_t member_count = members_detail::count<T>();

/// A tuple of references to the members, in their order.
template <class T>
constexpr auto members_of(T& x) {
  constexpr std::size_t n = member_count<std::remove_const_t<T>>;
  static_assert(n <= 16, "add the missing lines");
  if constexpr (n == 0) {
    return std::tuple<>();
  } else if constexpr (n == 1) {
    auto& [a] = x;
    return std::tie(a);
  } else if constexpr (n == 2) {
    auto& [a, b] = x;
    return std::tie(a, b);
  } else if constexpr (n == 3) {
    auto& [a, b, c] = x;
    return std::tie(a, b, c);
  } else if constexpr (n == 4) {
    auto& [a, b, c, d] = x;
    return std::tie(a, b, c, d);
  } else if constexpr (n == 5) {
    auto& [a, b, c, d, e] = x;
    return std::tie(a, b, c, d, e);
  } else if constexpr (n == 6) {
    auto& [a, b, c, d, e, f] = x;
    return std::tie(a, b, c, d, e, f);
  } else if constexpr (n == 7) {
    auto& [a, b, c, d, e, f, g] = x;
    return std::tie(a, b, c, d, e, f, g);
  } else if constexpr (n == 8) {
    auto& [a, b, c, d, e, f, g, h] = x;
    return std::tie(a, b, c, d, e, f, g, h);
  } else if constexpr (n == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = x;
    return std::tie(a, b, c, d, e, f, g, h, i);
  } else if constexpr (n == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = x;
    return std::tie(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (n == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = x;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (n == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = x;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (n == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = x;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (n == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, o] = x;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, o);
  } else if constexpr (n == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, o, p] = x;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, o, p);
  } else {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q] = x;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q);
  }
}

}  // namespace stoker
