// The fields of everything that a script can say, each named once: whoever writes, reads or
// simplifies scripts visits them. A field that has its default value is not written.
#pragma once

#include "sim/script.h"

namespace stoker::sim {

/// Visit: called with (name, value &) of each field in turn.
template <class Visit>
void fields(core::MemoryNeed& m, Visit&& visit) {
  visit("private", m.private_bytes);
  visit("shared", m.shared_bytes);
}

template <class Visit>
void fields(core::DeploymentSpec& d, Visit&& visit) {
  visit("id", d.id);
  visit("name", d.name);
  core::ScalePolicy& scale = d.scale;
  visit("min_instances", scale.min_instances);
  visit("max_instances", scale.max_instances);
  visit("concurrency", scale.concurrency);
  visit("target_percent", scale.target_utilization_percent);
  visit("scale_up_threshold", scale.scale_up_threshold);
  visit("spare_instances", scale.spare_instances);
  visit("on_utilization", scale.on.utilization);
  visit("on_queue_wait", scale.on.queue_wait);
  visit("on_first_token", scale.on.first_token);
  visit("on_rate_milli", scale.on.rate_milli);
  visit("scale_down_delay", scale.scale_down_delay);
  visit("scale_to_zero_delay", scale.scale_to_zero_delay);
  visit("keep_warm", scale.keep_warm.policy);
  visit("keep_warm_min", scale.keep_warm.min);
  visit("keep_warm_max", scale.keep_warm.max);
  visit("wait_weight", scale.keep_warm.wait_weight);
  visit("suspend", scale.keep_warm.suspend);
  visit("host_cost_permille", scale.keep_warm.host_cost_permille);
  visit("suspended_max", scale.keep_warm.suspended_max);
  core::RequestLimits& limits = d.limits;
  visit("max_queued", limits.max_queued);
  visit("max_queued_per_tenant", limits.max_queued_per_tenant);
  visit("queue_timeout", limits.queue_timeout);
  visit("start_timeout", limits.start_timeout);
  visit("load_stall_timeout", limits.load_stall_timeout);
  visit("drain_limit", limits.drain_limit);
  visit("cancel_grace", limits.cancel_grace);
  visit("stop_grace", limits.stop_grace);
  visit("suspend_timeout", limits.suspend_timeout);
  visit("estimate_private", d.estimate.private_bytes);
  visit("estimate_shared", d.estimate.shared_bytes);
  visit("weights", d.weights);
  visit("model", d.model.id);
  visit("model_bytes", d.model.bytes);
  visit("model_pinned", d.model.pinned);
  visit("kinds", d.needs.kinds);
  visit("labels", d.needs.labels);
  visit("devices", d.needs.devices);
  visit("share_permille", d.needs.share_permille);
  visit("exclusive", d.needs.exclusive);
  visit("finish_abandoned_load", d.finish_abandoned_load);
  visit("priority", d.priority);
  visit("pool", d.pool);
  visit("expected_start", d.expected_start);
  visit("can_suspend", d.can_suspend);
  visit("expected_resume", d.expected_resume);
  visit("suspended_bytes", d.suspended_bytes);
}

template <class Visit>
void fields(Behaviour& b, Visit&& visit) {
  visit("start", b.start);
  visit("load", b.load);
  fields(b.memory, visit);
  visit("broken", b.broken);
  visit("missing", b.missing);
  visit("crashes", b.crashes);
  visit("suspend_time", b.suspend);
  visit("resume_time", b.resume);
  visit("suspended", b.suspended);
}

template <class Visit>
void fields(AddDevice& i, Visit&& visit) {
  visit("id", i.device.id);
  visit("name", i.device.name);
  visit("kind", i.device.kind);
  visit("memory", i.device.memory);
  visit("slots", i.device.slots);
  visit("node", i.device.node);
  visit("labels", i.device.labels);
  visit("price_per_hour", i.device.price_per_hour);
}
template <class Visit>
void fields(WeighTenant& i, Visit&& visit) {
  visit("tenant", i.tenant);
  visit("weight", i.weight);
}
template <class Visit>
void fields(AddNode& i, Visit&& visit) {
  visit("id", i.node.id);
  visit("host_memory", i.node.host_memory);
}
template <class Visit>
void fields(AddStore& i, Visit&& visit) {
  visit("node", i.store.node);
  visit("disk", i.store.disk);
  visit("host_memory", i.store.host_memory);
  visit("rest", i.store.rest);
  visit("fetch_mib_per_s", i.fetch_mib_per_s);
}
template <class Visit>
void fields(AddPool& i, Visit&& visit) {
  visit("id", i.pool.id);
  visit("name", i.pool.name);
  visit("quota", i.pool.quota_devices);
  visit("pending_limit", i.pool.pending_limit);
}
template <class Visit>
void fields(AddDeployment& i, Visit&& visit) {
  fields(i.deployment, visit);
  fields(i.behaviour, visit);
}
template <class Visit>
void fields(ChangeDeployment& i, Visit&& visit) {
  fields(i.deployment, visit);
}
template <class Visit>
void fields(ChangeBounds& i, Visit&& visit) {
  visit("deployment", i.deployment);
  visit("min_instances", i.min_instances);
  visit("max_instances", i.max_instances);
}
template <class Visit>
void fields(RemoveDeployment& i, Visit&& visit) {
  visit("deployment", i.deployment);
}
template <class Visit>
void fields(ChangeBehaviour& i, Visit&& visit) {
  visit("deployment", i.deployment);
  fields(i.behaviour, visit);
}
template <class Visit>
void fields(Arrival& i, Visit&& visit) {
  visit("request", i.request);
  visit("deployment", i.deployment);
  visit("tenant", i.tenant);
  visit("priority", i.priority);
  visit("service", i.service);
  visit("gone_after", i.gone_after);
  visit("deadline", i.deadline);
  visit("cost", i.cost);
  visit("affinity", i.affinity);
}
template <class Visit>
void fields(WarmByHand& i, Visit&& visit) {
  visit("deployment", i.deployment);
}
template <class Visit>
void fields(StopByHand& i, Visit&& visit) {
  visit("deployment", i.deployment);
  visit("instance", i.instance);
}
template <class Visit>
void fields(Strike& i, Visit&& visit) {
  visit("fault", i.fault);
  visit("instance", i.instance);
  visit("device", i.device);
  visit("node", i.node);
  visit("amount", i.amount);
}
template <class Visit>
void fields(EndFaults&, Visit&&) {}
template <class Visit>
void fields(CheckSettled&, Visit&&) {}
template <class Visit>
void fields(ShutDown&, Visit&&) {}
template <class Visit>
void fields(CheckEnded&, Visit&&) {}
template <class Visit>
void fields(Hit& h, Visit&& visit) {
  visit("fault", h.fault);
  visit("who", h.who);
  visit("time", h.time);
}
/// Of the script itself.
template <class Visit>
void fields(Script& s, Visit&& visit) {
  visit("seed", s.seed);
  visit("varied", s.varied);
  visit("limits", s.with_limits);
  visit("between_strikes", s.between_strikes);
  visit("sweep_every", s.sweep_every);
  visit("looping", s.looping);
  visit("until", s.until);
}

}  // namespace stoker::sim
