// What the core asks of the world. Imperative, each with its reason, a closed set. Each may be
// carried out twice with the effect of once.
#pragma once

#include <cstdint>
#include <variant>

#include "base/units.h"
#include "core/spec.h"

namespace stoker::core {

enum class StartReason : std::uint8_t { from_zero, queue_depth, at_minimum, warm_request, replace };
struct StartInstance {
  InstanceId instance;
  Generation generation;
  DeploymentId deployment;
  DeviceId device;
  StartReason reason = StartReason::from_zero;
  MemoryNeed reserved;
  Instant wanted_at;  // when the need arose; before `now` if it had to wait for room
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
  load_failed
};
struct StopInstance {
  InstanceId instance;
  Generation generation;
  StopMode mode = StopMode::graceful;
  StopReason reason = StopReason::idle;
  Duration grace;  // of a graceful stop
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
  undeliverable
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

enum class WaitReason : std::uint8_t { evicting, all_busy };
/// An instance is wanted and must wait for room; said once per wait, for people.
struct AwaitRoom {
  InstanceId instance;
  DeploymentId deployment;
  WaitReason reason = WaitReason::all_busy;
  Bytes needed;
  Bytes most_free;
};

using Action = std::variant<StartInstance, StopInstance, Dispatch, Refuse, CancelRequest,
                            FailRequest, AwaitRoom>;

[[nodiscard]] const char* to_text(StartReason reason);
[[nodiscard]] const char* to_text(StopReason reason);
[[nodiscard]] const char* to_text(StopMode mode);
[[nodiscard]] const char* to_text(RefuseReason reason);
[[nodiscard]] const char* to_text(WaitReason reason);

}  // namespace stoker::core
