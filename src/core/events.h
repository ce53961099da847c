// What the world tells the core. Past tense, no decisions inside, a closed set.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/units.h"
#include "core/actions.h"
#include "core/spec.h"

namespace stoker::core {

struct DeviceAdded {
  DeviceSpec device;
};
struct NodeAdded {
  NodeSpec node;
};
struct PoolAdded {
  PoolSpec pool;
};
/// A node keeps models; told again, it has another size from now on.
struct StoreAdded {
  StoreSpec store;
};
struct DeviceLost {  // it does not answer; nothing new may start there
  DeviceId device;
};
struct DeviceReturned {
  DeviceId device;
};
struct DeploymentAdded {
  DeploymentSpec deployment;
};
/// Limits, bounds, needs: instances that run go on with what they have.
struct DeploymentChanged {
  DeploymentSpec deployment;
};
/// Bounds of a schedule, valid until the next ones; the core has no calendar. A later
/// DeploymentChanged brings its own.
struct BoundsChanged {
  DeploymentId deployment;
  std::int32_t min_instances = 0;
  std::int32_t max_instances = 1;
};
/// Its share of a queue against that of others, in every deployment; 1 unless told.
/// Needs: weight >= 1.
struct TenantWeighed {
  TenantId tenant;
  std::int32_t weight = 1;
};
/// What waits is refused, what runs may finish, then all instances stop.
struct DeploymentRemoved {
  DeploymentId deployment;
};

struct RequestArrived {
  RequestId request;
  DeploymentId deployment;
  TenantId tenant;
  std::int32_t priority = 0;   // larger is served first
  Instant deadline;            // latest dispatch; {0}: queue_timeout of the deployment
  std::int64_t cost = 1;       // what it is expected to take, to share fairly between tenants
  std::uint64_t affinity = 0;  // hash of its session or prompt prefix; 0: any instance will do
};
/// A dispatched request is over and its worker has let go of it.
struct RequestEnded {
  RequestId request;
  std::int64_t cost = 0;  // what it took, in the unit of its arrival; 0: not known
};
/// The first token of a stream went out. Told where an objective asks for it
/// (ScaleOn::first_token).
struct FirstTokenSent {
  RequestId request;
  Duration took;  // from its arrival
};
/// The client left, or a deadline of the gateway passed.
struct RequestCancelled {
  RequestId request;
};
/// A dispatched request provably never reached its worker.
struct RequestUndelivered {
  RequestId request;
};

/// A pool that another scheduler hands out gave it a place.
struct InstancePlaced {
  InstanceId instance;
  Generation generation;
};
/// The order to start got no answer: it may run, and cost.
struct StartOutcomeUnknown {
  InstanceId instance;
  Generation generation;
};
struct InstanceUp {  // the process runs and has proved who it is
  InstanceId instance;
  Generation generation;
};
struct LoadProgressed {
  InstanceId instance;
  Generation generation;
};
struct InstanceReady {
  InstanceId instance;
  Generation generation;
  MemoryNeed measured;
};
enum class LoadFailure : std::uint8_t {
  model_missing,
  model_broken,
  bad_option,
  out_of_memory,
  start_failed,
  internal
};
struct LoadFailed {  // the worker said so; its exit follows
  InstanceId instance;
  Generation generation;
  LoadFailure failure = LoadFailure::internal;
};
enum class ExitKind : std::uint8_t { clean, crashed, out_of_memory };
struct InstanceExited {  // the process and all its children are known to be gone
  InstanceId instance;
  Generation generation;
  ExitKind kind = ExitKind::clean;
};
enum class StartFailure : std::uint8_t {
  may_pass,   // no process, memory or disk to be had just now
  will_stay,  // there is no such program, or it may not be run: a person must act
};
struct StartFailed {  // there is no process
  InstanceId instance;
  Generation generation;
  StartFailure failure = StartFailure::may_pass;
};
enum class HangKind : std::uint8_t { no_progress, silent, breach };
struct InstanceHung {  // no work progress, no sign of life, or a broken contract
  InstanceId instance;
  Generation generation;
  HangKind kind = HangKind::no_progress;
};
struct InstanceUnkillable {  // still there long after SIGKILL
  InstanceId instance;
  Generation generation;
};

/// A model lies whole in a tier of a node without an order of the core: a load left it there, or it
/// was found at the start.
struct ModelInTier {
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  Bytes bytes{};  // {0}: as its deployments say
};
struct ModelLost {  // it does no longer
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
};
struct TierLost {  // with all that lay there
  NodeId node;
  Tier tier = Tier::disk;
};

struct ModelFetched {  // as PrefetchModel asked for
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  MoveId move;
  Bytes bytes;
};
struct ModelDropped {  // as DropModel asked for
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  MoveId move;
};
enum class MoveFailure : std::uint8_t {
  no_room,    // less is free than was thought
  no_source,  // it is not, or no longer, where it was to come from
  error       // of the disk or the network, or somebody else holds it
};
struct MoveFailed {  // of either: what was there is still there
  NodeId node;
  ModelId model;
  Tier tier = Tier::disk;
  MoveId move;
  MoveFailure failure = MoveFailure::error;
  Bytes bytes;  // that the model has; {0}: not known
};

/// The worker has let go of its devices, and that was measured.
struct InstanceSuspended {
  InstanceId instance;
  Generation generation;
  Bytes host_bytes;    // that it holds now
  Bytes device_bytes;  // that it still holds of its devices; more than none: it is not suspended
};
enum class SuspendFailure : std::uint8_t {
  refused,          // the worker said that it could not
  outcome_unknown,  // the order got no answer: it may have happened, or not, or in part
};
struct SuspendFailed {
  InstanceId instance;
  Generation generation;
  SuspendFailure failure = SuspendFailure::refused;
};
struct InstanceResumed {  // it is on its devices again, and serves
  InstanceId instance;
  Generation generation;
  MemoryNeed measured;
};
struct ResumeFailed {
  InstanceId instance;
  Generation generation;
  SuspendFailure failure = SuspendFailure::refused;
};

struct WarmRequested {
  DeploymentId deployment;
};
struct StopRequested {
  DeploymentId deployment;
  InstanceId instance;  // only this one; zero: all, and the minimum rests until the next request
};
/// How long its idle instances shall stay, until the next wish. The configuration bounds it: a wish
/// may end them sooner, never keep them longer.
struct KeepWished {
  DeploymentId deployment;
  std::optional<Duration> idle;  // not negative; nullopt: as configured
};
struct ShutdownRequested {};
struct WokeUp {};

using Event =
    std::variant<DeviceAdded, PoolAdded, DeviceLost, DeviceReturned, DeploymentAdded,
                 DeploymentChanged, DeploymentRemoved, RequestArrived, RequestEnded,
                 RequestCancelled, RequestUndelivered, InstancePlaced, StartOutcomeUnknown,
                 InstanceUp, LoadProgressed, InstanceReady, LoadFailed, InstanceExited, StartFailed,
                 InstanceHung, InstanceUnkillable, WarmRequested, StopRequested, ShutdownRequested,
                 WokeUp, BoundsChanged, TenantWeighed, FirstTokenSent, KeepWished, NodeAdded,
                 InstanceSuspended, SuspendFailed, InstanceResumed, ResumeFailed, ModelInTier,
                 ModelLost, TierLost, StoreAdded, ModelFetched, ModelDropped, MoveFailed>;

}  // namespace stoker::core
