// What happens to the virtual world from outside: people, clients, and what breaks at a time. A
// world and the list of its inputs, with the faults that chance alone decided (chances.h), is a
// script: it can be run again, and anything can be taken out of it.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/units.h"
#include "core/spec.h"
#include "sim/faults.h"

namespace stoker::sim {

/// Names an instance or a request in a way that does not change when others are taken away.
struct Subject {
  std::uint64_t value = 0;
  auto operator<=>(const Subject&) const = default;
  explicit constexpr operator bool() const { return value != 0; }

  /// The `number`-th start of a deployment, from 1.   Needs: both below 2^31.
  static constexpr Subject instance(DeploymentId deployment, std::uint32_t number) {
    return {deployment.value << 32U | number};
  }
  static constexpr Subject request(RequestId id) { return {id.value | request_bit}; }
  /// The `number`-th time that something may strike.
  static constexpr Subject strike(std::uint64_t number) { return {number | strike_bit}; }
  /// Moves of a model in a tier of a node's store.   Needs: node below 2^16, model below 2^32.
  static constexpr Subject copy(NodeId node, core::ModelId model, core::Tier tier) {
    return {node.value << 40U | model.value << 8U | static_cast<std::uint64_t>(tier) | copy_bit};
  }

  [[nodiscard]] constexpr bool is_request() const { return (value & request_bit) != 0; }
  [[nodiscard]] constexpr bool is_strike() const {
    return !is_request() && (value & strike_bit) != 0;
  }
  [[nodiscard]] constexpr bool is_copy() const {
    return !is_request() && !is_strike() && (value & copy_bit) != 0;
  }
  /// Needs: an instance.
  [[nodiscard]] constexpr DeploymentId deployment() const { return {value >> 32U}; }
  /// Of the instance, the request, the strike or the copy.
  [[nodiscard]] constexpr std::uint64_t number() const {
    const bool other = is_request() || is_strike() || is_copy();
    return other ? value & ~(request_bit | strike_bit | copy_bit) : value & 0xffffffffU;
  }
  static constexpr Subject copy(std::uint64_t number) { return {number | copy_bit}; }

 private:
  static constexpr std::uint64_t request_bit = std::uint64_t{1} << 63U;
  static constexpr std::uint64_t strike_bit = std::uint64_t{1} << 62U;
  static constexpr std::uint64_t copy_bit = std::uint64_t{1} << 61U;
};

/// How instances of a deployment behave, beside what the core is told of it.
struct Behaviour {
  Duration start = ms(50);  // spawn to hello
  Duration load = ms(500);  // hello to ready
  core::MemoryNeed memory;  // what it will really hold, on each device
  bool broken = false;      // every load fails for good
  bool missing = false;     // there is no such program
  bool crashes = false;     // every process dies in the middle of its load
  Duration suspend = ms(100);
  Duration resume = ms(100);
  Bytes suspended;  // what it will really hold of host memory
};

struct Arrival {
  RequestId request;
  DeploymentId deployment;
  TenantId tenant;
  std::int32_t priority = 0;
  Duration service = ms(100);
  Duration gone_after;  // the client leaves; {0}: it waits for the answer
  Duration deadline;    // latest dispatch, from now; {0}: the deployment's queue_timeout
  std::int64_t cost = 1;
  std::uint64_t affinity = 0;
};

struct AddDevice {
  core::DeviceSpec device;
};
struct AddNode {
  core::NodeSpec node;
};
struct AddPool {
  core::PoolSpec pool;
};
/// A node keeps models; once more: it has another size now.
struct AddStore {
  core::StoreSpec store;
  std::int32_t fetch_mib_per_s = 100;  // from far away; a copy into host memory is ten times faster
};
struct WeighTenant {
  TenantId tenant;
  std::int32_t weight = 1;
};
struct AddDeployment {
  core::DeploymentSpec deployment;
  Behaviour behaviour;
};
struct ChangeDeployment {
  core::DeploymentSpec deployment;
};
struct ChangeBounds {  // as a schedule does
  DeploymentId deployment;
  std::int32_t min_instances = 0;
  std::int32_t max_instances = 1;
};
struct RemoveDeployment {
  DeploymentId deployment;
};
struct ChangeBehaviour {  // the model is mended, or breaks
  DeploymentId deployment;
  Behaviour behaviour;
};
struct WarmByHand {
  DeploymentId deployment;
};
struct StopByHand {
  DeploymentId deployment;
  Subject instance;  // only this one; zero: all
};
/// Something breaks, or is mended, at this moment.
struct Strike {
  Fault fault = Fault::count_;
  Subject instance;  // that it hits; zero: none
  DeviceId device;
  NodeId node;
  /// process_hangs: 1 if the core is told; process_slow, load_slow: so many times slower;
  /// process_dies_slowly, server_sleeps: for so many ns; load_larger: private bytes;
  /// tier_lost, model_lost: the tier.
  std::int64_t amount = 0;
};
/// Nothing breaks from now on, what is broken is mended, and everybody is warmed by hand.
struct EndFaults {};
struct CheckSettled {};  // everything must have come to rest: L1 to L6
struct ShutDown {};
struct CheckEnded {};  // the server must have ended

using Input =
    std::variant<AddDevice, AddPool, WeighTenant, AddDeployment, ChangeDeployment, ChangeBounds,
                 RemoveDeployment, ChangeBehaviour, Arrival, WarmByHand, StopByHand, Strike,
                 EndFaults, CheckSettled, ShutDown, CheckEnded, AddNode, AddStore>;

}  // namespace stoker::sim
