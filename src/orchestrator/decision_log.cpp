#include "orchestrator/decision_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>
#include <vector>

#include "base/json_writer.h"
#include "base/overloaded.h"
#include "base/text.h"
#include "core/describe.h"

namespace stoker::orchestrator {
namespace {

template <class Id>
std::string name_in(const std::map<Id, std::string>& names, Id id, const char* what) {
  const auto found = names.find(id);
  return found == names.end() ? fmt::format("{} {}", what, id.value) : found->second;
}

/// The kind of order, its reason as a code, and the figures behind it.
void write_fields(JsonWriter& json, const core::Action& action, const core::Names& names) {
  const auto reason = [&](const char* decision, const char* code) {
    json.field("decision", decision);
    json.field("reason", code);
  };
  const auto copy = [&](NodeId node, core::ModelId model, core::Tier tier) {
    json.field("node", node.value);
    json.field("model", model.value);
    json.field("tier", core::to_text(tier));
  };
  std::visit(
      Overloaded{
          [&](const core::StartInstance& a) {
            reason("start", core::to_text(a.reason));
            json.field("instance", names.instance(a.instance));
            json.array("devices", [&] {
              for (const DeviceId id : a.devices) json.value(names.device(id));
            });
            json.field("memory_bytes", (a.reserved.private_bytes + a.reserved.shared_bytes).value);
            json.field("expected_start_ms", whole_ms(a.expected_start));
            json.field("from", core::to_text(a.from));
          },
          [&](const core::StopInstance& a) {
            reason("stop", core::to_text(a.reason));
            json.field("instance", names.instance(a.instance));
            json.field("mode", core::to_text(a.mode));
          },
          [&](const core::SuspendInstance& a) {
            reason("suspend", core::to_text(a.reason));
            json.field("instance", names.instance(a.instance));
            json.field("host_bytes", a.host_bytes.value);
            json.field("expected_resume_ms", whole_ms(a.expected_resume));
            json.field("expected_start_ms", whole_ms(a.expected_start));
          },
          [&](const core::ResumeInstance& a) {
            reason("resume", core::to_text(a.reason));
            json.field("instance", names.instance(a.instance));
            json.array("devices", [&] {
              for (const DeviceId id : a.devices) json.value(names.device(id));
            });
            json.field("memory_bytes", (a.reserved.private_bytes + a.reserved.shared_bytes).value);
            json.field("expected_resume_ms", whole_ms(a.expected_resume));
          },
          [&](const core::Refuse& a) {
            reason("refuse", core::to_text(a.reason));
            json.field("request", names.request(a.request));
            json.field("retry_after_ms", whole_ms(a.retry_after));
          },
          [&](const core::AwaitRoom& a) {
            reason("wait", core::to_text(a.reason));
            json.field("instance", names.instance(a.instance));
            json.field("needed_bytes", a.needed.value);
            json.field("most_free_bytes", a.most_free.value);
            json.object("unfit_devices", [&] {
              for (std::size_t i = 0; i < a.unfit.size(); ++i) {
                if (a.unfit[i] == 0) continue;
                std::string code = core::to_text(static_cast<core::Unfit>(i));
                std::ranges::replace(code, ' ', '_');
                json.field(code, a.unfit[i]);
              }
            });
          },
          [&](const core::CancelRequest& a) {
            reason("cancel", "given_up");  // its client left, or its time is over
            json.field("request", names.request(a.request));
            json.field("instance", names.instance(a.instance));
          },
          [&](const core::FailRequest& a) {
            reason("fail", "instance_lost");
            json.field("request", names.request(a.request));
            json.field("instance", names.instance(a.instance));
          },
          [&](const core::PrefetchModel& a) {
            reason("prefetch", core::to_text(a.reason));
            copy(a.node, a.model, a.tier);
            json.field("bytes", a.bytes.value);
            json.field("saves_ms_an_hour", whole_ms(a.saves));
          },
          [&](const core::DropModel& a) {
            reason("drop", core::to_text(a.reason));
            copy(a.node, a.model, a.tier);
            json.field("bytes", a.bytes.value);
            json.field("saved_ms_an_hour", whole_ms(a.saved));
          },
          [&](const core::PinModel& a) {
            reason(a.pinned ? "pin" : "unpin", "configured");
            copy(a.node, a.model, a.tier);
          },
          [&](const core::RefuseCopy& a) {
            reason("refuse_copy", core::to_text(a.reason));
            copy(a.node, a.model, a.tier);
            json.field("bytes", a.bytes.value);
            json.field("capacity_bytes", a.capacity.value);
          },
          [&](const core::Dispatch&) {},
      },
      action);
}

}  // namespace

DeploymentId DecisionLog::deployment_of(InstanceId instance) const {
  const auto found = owners_.find(instance);
  return found == owners_.end() ? DeploymentId{} : found->second;
}

void DecisionLog::add(WallTime at, const core::Action& action) {
  if (std::holds_alternative<core::Dispatch>(action)) return;
  const std::lock_guard lock(mutex_);
  const DeploymentId deployment = std::visit(
      Overloaded{
          [&](const core::StartInstance& a) { return owners_[a.instance] = a.deployment; },
          [&](const core::AwaitRoom& a) { return owners_[a.instance] = a.deployment; },
          [&](const core::Refuse& a) { return a.deployment; },
          [&](const auto& a) {
            if constexpr (requires { a.instance; }) {
              return deployment_of(a.instance);
            } else {
              return DeploymentId{};  // of a store, which serves many
            }
          },
      },
      action);
  if (owners_.size() > kept) owners_.erase(owners_.begin());
  entries_.push_back({next_sequence_++, at, deployment, action});
  if (entries_.size() > kept) entries_.pop_front();
}

std::string DecisionLog::to_json(const gateway::EventFilter& filter,
                                 const DecisionNames& known) const {
  const std::lock_guard lock(mutex_);
  const auto deployment_name = [&](DeploymentId id) {
    return name_in(known.deployments, id, "deployment");
  };
  const core::Names names{
      deployment_name,
      [&](InstanceId id) {
        const DeploymentId owner = deployment_of(id);
        return owner ? fmt::format("{}/{}", deployment_name(owner), id.value)
                     : fmt::format("instance {}", id.value);
      },
      [&](DeviceId id) { return name_in(known.devices, id, "device"); },
      [](RequestId id) { return public_id(id); },
  };
  std::vector<const Entry*> chosen;
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    if (static_cast<std::int64_t>(chosen.size()) >= filter.limit || it->sequence <= filter.since) {
      break;
    }
    if (filter.wants(it->deployment ? std::string_view(deployment_name(it->deployment))
                                    : std::string_view())) {
      chosen.push_back(&*it);
    }
  }
  std::reverse(chosen.begin(), chosen.end());
  JsonWriter json;
  json.object([&] {
    json.array("decisions", [&] {
      for (const Entry* each : chosen) {
        json.object([&] {
          json.field("sequence", each->sequence);
          json.field("at", to_text(each->at));
          if (each->deployment) json.field("deployment", deployment_name(each->deployment));
          write_fields(json, each->action, names);
          json.field("text", core::describe(each->action, names));
        });
      }
    });
  });
  return json.take();
}

}  // namespace stoker::orchestrator
