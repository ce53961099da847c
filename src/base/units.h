// Strong types for bytes, time and ids. They exist so that a wrong unit does not compile.
// Must never read a clock: an Instant is handed in by whoever owns one (net/clock.h, sim/).
#pragma once

#include <compare>
#include <cstdint>

namespace stoker {

struct Bytes {
  std::int64_t value = 0;
  auto operator<=>(const Bytes&) const = default;
};
struct Duration {
  std::int64_t ns = 0;
  auto operator<=>(const Duration&) const = default;
};
/// A point on the monotonic clock of one run. Never a wall-clock time (see WallTime).
struct Instant {
  std::int64_t ns = 0;
  auto operator<=>(const Instant&) const = default;
};
/// Nanoseconds since 1970-01-01T00:00:00Z; only written down, never used for a decision.
struct WallTime {
  std::int64_t ns = 0;
  auto operator<=>(const WallTime&) const = default;
};

constexpr Bytes kib(std::int64_t n) {
  return {n * (std::int64_t{1} << 10)};
}
constexpr Bytes mib(std::int64_t n) {
  return {n * (std::int64_t{1} << 20)};
}
constexpr Bytes gib(std::int64_t n) {
  return {n * (std::int64_t{1} << 30)};
}
constexpr Bytes operator+(Bytes a, Bytes b) {
  return {a.value + b.value};
}
constexpr Bytes operator-(Bytes a, Bytes b) {
  return {a.value - b.value};
}
constexpr Bytes& operator+=(Bytes& a, Bytes b) {
  return a = a + b;
}
constexpr Bytes& operator-=(Bytes& a, Bytes b) {
  return a = a - b;
}

constexpr Duration us(std::int64_t n) {
  return {n * 1'000};
}
constexpr Duration ms(std::int64_t n) {
  return {n * 1'000'000};
}
constexpr Duration seconds(std::int64_t n) {
  return {n * 1'000'000'000};
}
constexpr Duration minutes(std::int64_t n) {
  return seconds(n * 60);
}
constexpr Duration operator+(Duration a, Duration b) {
  return {a.ns + b.ns};
}
constexpr Duration operator-(Duration a, Duration b) {
  return {a.ns - b.ns};
}
constexpr Instant operator+(Instant t, Duration d) {
  return {t.ns + d.ns};
}
constexpr Instant operator-(Instant t, Duration d) {
  return {t.ns - d.ns};
}
constexpr Duration operator-(Instant later, Instant earlier) {
  return {later.ns - earlier.ns};
}
constexpr std::int64_t whole_ms(Duration d) {
  return d.ns / 1'000'000;
}
constexpr double as_ms(Duration d) {
  return static_cast<double>(d.ns) / 1e6;
}

template <class Tag>
struct Id {
  std::uint64_t value = 0;
  auto operator<=>(const Id&) const = default;
  explicit constexpr operator bool() const { return value != 0; }
};
/// Unique over all lives of the server: epoch << 40 | counter (see orchestrator/).
using RequestId = Id<struct RequestTag>;
/// Unique over one life of the server; the life number is part of what people see.
using InstanceId = Id<struct InstanceTag>;
using DeploymentId = Id<struct DeploymentTag>;
using DeviceId = Id<struct DeviceTag>;
/// A machine; the devices of one instance lie on one node.
using NodeId = Id<struct NodeTag>;
/// Devices that another scheduler (Slurm, Kubernetes) hands out.
using PoolId = Id<struct PoolTag>;
using TenantId = Id<struct TenantTag>;
/// What a caller proves who he is with; belongs to one tenant.
using KeyId = Id<struct KeyTag>;
/// One file of weights, shared by the instances that map it on one device.
using WeightsId = Id<struct WeightsTag>;
/// Life number of one instance. A message of another life is stale and must be ignored.
using Generation = Id<struct GenerationTag>;
/// Life number of the orchestrator, from the state directory.
using Epoch = Id<struct EpochTag>;

}  // namespace stoker
