#include "core/describe.h"

#include <fmt/format.h>

#include "base/overloaded.h"
#include "base/text.h"

namespace stoker::core {
namespace {

template <class Id>
std::string numbered(const char* what, Id id) {
  return fmt::format("{} {}", what, id.value);
}

const char* why(LoadFailure failure) {
  switch (failure) {
    case LoadFailure::model_missing:
      return "the model is missing";
    case LoadFailure::model_broken:
      return "the model is broken";
    case LoadFailure::bad_option:
      return "an option is wrong";
    case LoadFailure::out_of_memory:
      return "out of memory";
    case LoadFailure::start_failed:
      return "it did not start";
    case LoadFailure::internal:
      return "an internal error";
  }
  return "unknown";
}

const char* how(ExitKind kind) {
  switch (kind) {
    case ExitKind::clean:
      return "ended";
    case ExitKind::crashed:
      return "crashed";
    case ExitKind::out_of_memory:
      return "was killed for memory";
  }
  return "unknown";
}

const char* why(MoveFailure failure) {
  switch (failure) {
    case MoveFailure::no_room:
      return "there is no room";
    case MoveFailure::no_source:
      return "it is not where it was to come from";
    case MoveFailure::error:
      return "an error";
  }
  return "unknown";
}

std::string lies_in(Tier tier, NodeId node) {
  return fmt::format("the {} tier of node {}", to_text(tier), node.value);
}

std::string unfit_text(const UnfitCounts& counts) {
  std::string text;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : ", ", counts[i], to_text(static_cast<Unfit>(i)));
  }
  return text;
}

}  // namespace

const Names& plain_names() {
  static const Names names{
      [](DeploymentId id) { return numbered("deployment", id); },
      [](InstanceId id) { return numbered("instance", id); },
      [](DeviceId id) { return numbered("device", id); },
      [](RequestId id) { return numbered("request", id); },
  };
  return names;
}

std::string describe(const Event& event, const Names& n) {
  return std::visit(
      Overloaded{
          [&](const DeviceAdded& e) {
            return fmt::format("{} with {} and {} slots is there", n.device(e.device.id),
                               to_text(e.device.memory), e.device.slots);
          },
          [&](const NodeAdded& e) {
            return fmt::format("node {} lends {} of its memory", e.node.id.value,
                               to_text(e.node.host_memory));
          },
          [&](const PoolAdded& e) {
            return fmt::format("a pool of {} devices is there", e.pool.quota_devices);
          },
          [&](const DeviceLost& e) { return n.device(e.device) + " is lost"; },
          [&](const DeviceReturned& e) { return n.device(e.device) + " is back"; },
          [&](const DeploymentAdded& e) {
            return fmt::format("{} is there, {} to {} instances", n.deployment(e.deployment.id),
                               e.deployment.scale.min_instances, e.deployment.scale.max_instances);
          },
          [&](const DeploymentChanged& e) {
            return fmt::format("{} changes, {} to {} instances", n.deployment(e.deployment.id),
                               e.deployment.scale.min_instances, e.deployment.scale.max_instances);
          },
          [&](const DeploymentRemoved& e) { return n.deployment(e.deployment) + " is removed"; },
          [&](const RequestArrived& e) {
            return fmt::format("{} arrives for {}", n.request(e.request),
                               n.deployment(e.deployment));
          },
          [&](const RequestEnded& e) { return n.request(e.request) + " ends"; },
          [&](const RequestCancelled& e) { return n.request(e.request) + " is cancelled"; },
          [&](const RequestUndelivered& e) {
            return n.request(e.request) + " never reached its worker";
          },
          [&](const InstancePlaced& e) { return n.instance(e.instance) + " got its place"; },
          [&](const StartOutcomeUnknown& e) {
            return fmt::format("whether {} started is not known", n.instance(e.instance));
          },
          [&](const InstanceUp& e) { return n.instance(e.instance) + " is up"; },
          [&](const LoadProgressed& e) { return n.instance(e.instance) + " loads"; },
          [&](const InstanceReady& e) {
            return fmt::format("{} is ready with {}", n.instance(e.instance),
                               to_text(e.measured.private_bytes + e.measured.shared_bytes));
          },
          [&](const LoadFailed& e) {
            return fmt::format("{} could not load: {}", n.instance(e.instance), why(e.failure));
          },
          [&](const InstanceExited& e) {
            return fmt::format("{} {}", n.instance(e.instance), how(e.kind));
          },
          [&](const StartFailed& e) {
            return fmt::format("{} could not be started{}", n.instance(e.instance),
                               e.failure == StartFailure::will_stay ? " and will not be" : "");
          },
          [&](const InstanceHung& e) { return n.instance(e.instance) + " hangs"; },
          [&](const InstanceUnkillable& e) {
            return n.instance(e.instance) + " outlives its kill";
          },
          [&](const ModelInTier& e) {
            return fmt::format("model {} lies in the {} tier of node {}", e.model.value,
                               to_text(e.tier), e.node.value);
          },
          [&](const ModelLost& e) {
            return fmt::format("model {} is no longer in the {} tier of node {}", e.model.value,
                               to_text(e.tier), e.node.value);
          },
          [&](const TierLost& e) {
            return fmt::format("the {} tier of node {} is lost", to_text(e.tier), e.node.value);
          },
          [&](const StoreAdded& e) {
            return fmt::format("node {} keeps models in {} of host memory and {} of disk",
                               e.store.node.value, to_text(e.store.host_memory),
                               to_text(e.store.disk));
          },
          [&](const ModelFetched& e) {
            return fmt::format("model {} was brought to {}", e.model.value,
                               lies_in(e.tier, e.node));
          },
          [&](const ModelDropped& e) {
            return fmt::format("model {} was taken from {}", e.model.value,
                               lies_in(e.tier, e.node));
          },
          [&](const MoveFailed& e) {
            return fmt::format("model {} was not moved in {}: {}", e.model.value,
                               lies_in(e.tier, e.node), why(e.failure));
          },
          [&](const InstanceSuspended& e) {
            return e.device_bytes > Bytes{}
                       ? fmt::format("{} still holds {} of its devices", n.instance(e.instance),
                                     to_text(e.device_bytes))
                       : fmt::format("{} is suspended with {} of host memory",
                                     n.instance(e.instance), to_text(e.host_bytes));
          },
          [&](const SuspendFailed& e) {
            return n.instance(e.instance) + (e.failure == SuspendFailure::refused
                                                 ? " could not be suspended"
                                                 : " may be suspended or not");
          },
          [&](const InstanceResumed& e) {
            return fmt::format("{} is back with {}", n.instance(e.instance),
                               to_text(e.measured.private_bytes + e.measured.shared_bytes));
          },
          [&](const ResumeFailed& e) {
            return n.instance(e.instance) + (e.failure == SuspendFailure::refused
                                                 ? " could not be resumed"
                                                 : " may be back or not");
          },
          [&](const WarmRequested& e) { return n.deployment(e.deployment) + " shall be warm"; },
          [&](const StopRequested& e) {
            return e.instance ? n.instance(e.instance) + " shall stop"
                              : n.deployment(e.deployment) + " shall stop";
          },
          [](const ShutdownRequested&) { return std::string("the server shall end"); },
          [](const WokeUp&) { return std::string("time passes"); },
          [&](const FirstTokenSent& e) {
            return fmt::format("the first token of {} went out after {}", n.request(e.request),
                               to_text(e.took));
          },
          [&](const TenantWeighed& e) {
            return fmt::format("tenant {} has the weight {}", e.tenant.value, e.weight);
          },
          [&](const BoundsChanged& e) {
            return fmt::format("{} shall have {} to {} instances from now on",
                               n.deployment(e.deployment), e.min_instances, e.max_instances);
          },
          [&](const KeepWished& e) {
            return fmt::format("{} shall stay idle for {}", n.deployment(e.deployment),
                               e.idle ? to_text(*e.idle) : std::string("as long as configured"));
          },
      },
      event);
}

std::string describe(const Action& action, const Names& n) {
  return std::visit(
      Overloaded{
          [&](const StartInstance& a) {
            std::string where = a.pool ? "in a pool" : "on";
            for (const DeviceId id : a.devices) where += " " + n.device(id);
            return fmt::format("start {} of {} {} with {} ({}), from {}, expected in {}",
                               n.instance(a.instance), n.deployment(a.deployment), where,
                               to_text(a.reserved.private_bytes + a.reserved.shared_bytes),
                               to_text(a.reason), to_text(a.from), to_text(a.expected_start));
          },
          [&](const StopInstance& a) {
            return fmt::format("stop {} ({}, {})", n.instance(a.instance), to_text(a.reason),
                               to_text(a.mode));
          },
          [&](const SuspendInstance& a) {
            return fmt::format(
                "suspend {} ({}) with {} of host memory; it is back in {}, a start takes {}",
                n.instance(a.instance), to_text(a.reason), to_text(a.host_bytes),
                to_text(a.expected_resume), to_text(a.expected_start));
          },
          [&](const ResumeInstance& a) {
            std::string where;
            for (const DeviceId id : a.devices) where += " " + n.device(id);
            return fmt::format("resume {} of {} on{} with {} ({}), expected in {}",
                               n.instance(a.instance), n.deployment(a.deployment), where,
                               to_text(a.reserved.private_bytes + a.reserved.shared_bytes),
                               to_text(a.reason), to_text(a.expected_resume));
          },
          [&](const PrefetchModel& a) {
            return fmt::format("bring model {} with {} to {} ({}), which saves {} an hour",
                               a.model.value, to_text(a.bytes), lies_in(a.tier, a.node),
                               to_text(a.reason), to_text(a.saves));
          },
          [&](const DropModel& a) {
            return fmt::format("take model {} with {} from {} ({}), where it saved {} an hour",
                               a.model.value, to_text(a.bytes), lies_in(a.tier, a.node),
                               to_text(a.reason), to_text(a.saved));
          },
          [&](const PinModel& a) {
            return fmt::format("{} model {} in {}", a.pinned ? "pin" : "pin no longer",
                               a.model.value, lies_in(a.tier, a.node));
          },
          [&](const RefuseCopy& a) {
            return fmt::format("model {} with {} does not come to {} of {} ({})", a.model.value,
                               to_text(a.bytes), lies_in(a.tier, a.node), to_text(a.capacity),
                               to_text(a.reason));
          },
          [&](const Dispatch& a) {
            return fmt::format("send {} to {}", n.request(a.request), n.instance(a.instance));
          },
          [&](const Refuse& a) {
            return fmt::format("refuse {} ({}), again after {}", n.request(a.request),
                               to_text(a.reason), to_text(a.retry_after));
          },
          [&](const CancelRequest& a) {
            return fmt::format("cancel {} on {}", n.request(a.request), n.instance(a.instance));
          },
          [&](const FailRequest& a) {
            return fmt::format("{} failed with {}", n.request(a.request), n.instance(a.instance));
          },
          [&](const AwaitRoom& a) {
            const std::string unfit = unfit_text(a.unfit);
            return fmt::format("{} of {} waits for {} ({}){}{}", n.instance(a.instance),
                               n.deployment(a.deployment), to_text(a.needed), to_text(a.reason),
                               unfit.empty() ? "" : "; devices: ", unfit);
          },
      },
      action);
}

}  // namespace stoker::core
