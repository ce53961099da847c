// What the core asks of the world. Imperative, each with its reason, a closed set. Each may be
// carried out twice with the effect of once.
#pragma once

#include <array>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/units.h"
#include "core/spec.h"

namespace stoker::core {

enum class StartReason : std::uint8_t {
  from_zero,
  queue_depth,
  at_minimum,
  warm_request,
  replace,
  expected,  // a request is expected soon
  queue_wait,
  utilization,
  first_token,
  request_rate,
  spare
};
struct StartInstance {
  InstanceId instance;
  Generation generation;
  DeploymentId deployment;
  std::vector<DeviceId> devices;  // ascending, on one node; empty: the pool chooses
  PoolId pool;                    // zero: our own devices
  StartReason reason = StartReason::from_zero;
  MemoryNeed reserved;      // on each device
  Instant wanted_at;        // when the need arose; before `now` if it had to wait for room
  Duration expected_start;  // until it is ready, as far as that was learned
  Tier from = Tier::disk;   // where the weights are taken from
};

enum class StopMode : std::uint8_t { graceful, kill };
enum class StopReason : std::uint8_t {
  idle,
  make_room,
  stop_request,
  shutdown,
  start_timeout,
  load_stalled,
  hung,
  cancel_ignored,
  drain_limit,
  not_stopping,
  memory_overrun,
  abandoned,
  superseded,
  load_failed,
  swap,
  removed,
  not_placed,
  start_unconfirmed,
  device_lost,
  suspend_failed,
  resume_failed,
  host_room,     // what it holds of the host's memory is worth more to another
  host_overrun,  // suspended, it holds more than there is
  unlikely,      // it was suspended for as long as that was worth it
  elsewhere      // its devices have no room, others have
};
struct StopInstance {
  InstanceId instance;
  Generation generation;
  StopMode mode = StopMode::graceful;
  StopReason reason = StopReason::idle;
  Duration grace;  // of a graceful stop
};

/// Let go of the devices, keep the state in host memory. Nothing runs on it.
struct SuspendInstance {
  InstanceId instance;
  Generation generation;
  StopReason reason = StopReason::idle;  // what it would have been stopped for
  Bytes host_bytes;                      // reserved for it
  Duration expected_resume;              // against
  Duration expected_start;
};
/// Back to its devices, whose memory is reserved for it.
struct ResumeInstance {
  InstanceId instance;
  Generation generation;
  DeploymentId deployment;
  std::vector<DeviceId> devices;  // those that it was on
  StartReason reason = StartReason::from_zero;
  MemoryNeed reserved;  // on each device
  Instant wanted_at;
  Duration expected_resume;
};

struct Dispatch {
  RequestId request;
  InstanceId instance;
  Generation generation;
};

enum class RefuseReason : std::uint8_t {
  queue_full,
  queue_timeout,
  load_failed,
  crash_loop,
  no_capacity,
  shutting_down,
  undeliverable,
  tenant_queue_full,
  removed
};
/// A request leaves without having run (or, if undeliverable, without having reached a worker).
struct Refuse {
  RequestId request;
  DeploymentId deployment;
  RefuseReason reason = RefuseReason::queue_full;
  Duration retry_after;
};

/// Tell the worker to stop a running request; its RequestEnded follows.
struct CancelRequest {
  RequestId request;
  InstanceId instance;
  Generation generation;
};

/// The instance is gone with this request on it; it does not run anywhere any more.
struct FailRequest {
  RequestId request;
  InstanceId instance;
};

/// Why a device was not taken, each a hard yes or no.
enum class Unfit : std::uint8_t {
  lost,
  distrusted,
  wrong_kind,
  wrong_label,
  too_small,
  too_little_free,
  no_slot,
  no_share,
  not_alone
};
inline constexpr std::size_t unfit_kinds = 9;
/// How many devices were out for which reason.
using UnfitCounts = std::array<std::int32_t, unfit_kinds>;

enum class WaitReason : std::uint8_t { evicting, swapping, all_busy, quota };
/// An instance is wanted and must wait for room; said once per wait, for people.
struct AwaitRoom {
  InstanceId instance;
  DeploymentId deployment;
  WaitReason reason = WaitReason::all_busy;
  Bytes needed;
  Bytes most_free;
  UnfitCounts unfit{};
};

/// A move of a model in a store, over all lives of the server.
using MoveId = Id<struct MoveTag>;

enum class PrefetchReason : std::uint8_t {
  room,   // it is worth something, and there is room for it; others may have left for it
  pinned  // whoever configures it wants it there
};
/// Bring a model to a tier of a node's store from the tier below. Answered once, by ModelFetched or
/// MoveFailed. Its room is taken from now on.
struct PrefetchModel {
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  MoveId move;
  PrefetchReason reason = PrefetchReason::room;
  Bytes bytes;
  Duration saves;  // expected, of waiting for starts, in an hour
};

enum class DropReason : std::uint8_t {
  worth_less,     // than another that comes
  over_capacity,  // more lies there than may
  not_on_disk     // a copy in host memory, whose file is gone
};
/// Take a model from a tier. Answered once, by ModelDropped or MoveFailed; its room is free then.
struct DropModel {
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  MoveId move;
  DropReason reason = DropReason::worth_less;
  Bytes bytes;
  Duration saved;  // expected, of waiting for starts, in an hour
};

/// What is pinned is not given up by anybody but the core, whatever the machine runs out of.
struct PinModel {
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  bool pinned = true;
};

enum class CopyRefusal : std::uint8_t {
  larger_than_tier,
  no_room  // it is pinned, and so is what is there, or it is in use, or has just come
};
/// A model that belongs in a tier does not come; said once, for people.
struct RefuseCopy {
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  CopyRefusal reason = CopyRefusal::larger_than_tier;
  Bytes bytes;
  Bytes capacity;
};

using Action = std::variant<StartInstance, StopInstance, Dispatch, Refuse, CancelRequest,
                            FailRequest, AwaitRoom, SuspendInstance, ResumeInstance, PrefetchModel,
                            DropModel, PinModel, RefuseCopy>;

/// Asked for by what runs, whether a request waits or not.
[[nodiscard]] constexpr bool is_for_load(StartReason reason) {
  return reason == StartReason::utilization || reason == StartReason::first_token ||
         reason == StartReason::request_rate || reason == StartReason::spare;
}

[[nodiscard]] const char* to_text(StartReason reason);
[[nodiscard]] const char* to_text(StopReason reason);
[[nodiscard]] const char* to_text(StopMode mode);
[[nodiscard]] const char* to_text(RefuseReason reason);
[[nodiscard]] const char* to_text(WaitReason reason);
[[nodiscard]] const char* to_text(Unfit reason);
[[nodiscard]] const char* to_text(Tier tier);
[[nodiscard]] const char* to_text(PrefetchReason reason);
[[nodiscard]] const char* to_text(DropReason reason);
[[nodiscard]] const char* to_text(CopyRefusal reason);

}  // namespace stoker::core
