#include "sim/scene.h"

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::sim {

Scene::Scene(std::uint64_t seed, const FaultPlan& plan, std::int32_t sweep_every,
             const SceneOptions& options)
    : Scene(seed, Chances(seed, plan), plan.between_strikes, true, sweep_every, options) {}

Scene::Scene(const Script& script, const SceneOptions& options)
    : Scene(script.seed, Chances(script.seed, script.varied, script.hits), script.between_strikes,
            script.with_limits, script.sweep_every, options) {}

Scene::Scene(std::uint64_t seed, const Chances& chances, Duration between_strikes, bool with_limits,
             std::int32_t sweep_every, const SceneOptions& options)
    : checker_(sweep_every, options.listener),
      gateway_(seed, chances, between_strikes, with_limits, sweep_every),
      observers_{&checker_, &failures_, &stops_, &gateway_},
      world_(seed, chances, &observers_) {
  checker_.set_trace(options.trace);
  gateway_.on_exhausted([this](RequestId request) { world_.give_up_soon(request); });
  gateway_.on_sent([this](Instant at) { world_.tell_gateway_at(at); });
  world_.on_gateway_due([this] { gateway_.advance(world_.now()); });
  world_.on_strike([this](const Input& input) { note(input); });
}

void Scene::record(Script& script) {
  record_ = &script;
}

void Scene::end_record() {
  STOKER_INVARIANT(record_ != nullptr, "nothing was recorded");
  record_->until = world_.now();
  record_->hits = world_.chances().hits();
  const std::vector<Hit>& of_gateway = gateway_.chances().hits();
  record_->hits.insert(record_->hits.end(), of_gateway.begin(), of_gateway.end());
}

void Scene::note(const Input& input) {
  if (record_ != nullptr) record_->steps.push_back({world_.now(), input});
}

StateCounts Scene::states() const {
  StateCounts sum = checker_.states();
  sum.add(gateway_.states());
  sum.add(world_.states);
  return sum;
}

void Scene::run_until(Instant until) {
  if (until > world_.now()) world_.run_until(until);
}

void Scene::perform(const Input& input) {
  note(input);
  std::visit(Overloaded{
                 [&](const AddDevice& i) { world_.add_device(i.device); },
                 [&](const AddNode& i) { world_.add_node(i.node); },
                 [&](const AddPool& i) { world_.add_pool(i.pool); },
                 [&](const AddStore& i) { world_.add_store(i); },
                 [&](const WeighTenant& i) { world_.weigh_tenant(i.tenant, i.weight); },
                 [&](const AddDeployment& i) { world_.add_deployment(i.deployment, i.behaviour); },
                 [&](const ChangeDeployment& i) { world_.change_deployment(i.deployment); },
                 [&](const ChangeBounds& i) {
                   world_.change_bounds(i.deployment, i.min_instances, i.max_instances);
                 },
                 [&](const RemoveDeployment& i) { world_.remove_deployment(i.deployment); },
                 [&](const ChangeBehaviour& i) { world_.set_behaviour(i.deployment, i.behaviour); },
                 [&](const Arrival& i) {
                   if (!world_.server_runs() || !gateway_.admit(world_.now(), i)) return;
                   world_.arrive(i);
                 },
                 [&](const WarmByHand& i) { world_.warm_by_hand(i.deployment); },
                 [&](const StopByHand& i) { world_.stop_by_hand(i); },
                 [&](const Strike& i) { world_.strike(i); },
                 [&](const EndFaults&) { end_faults(); },
                 [&](const CheckSettled&) { check_settled(); },
                 [&](const ShutDown&) { world_.tell(core::ShutdownRequested{}); },
                 [&](const CheckEnded&) { check_ended(); },
             },
             input);
}

void Scene::end_faults() {
  world_.stop_faults();
  gateway_.stop_faults(world_.now());
  for (const auto& [id, spec] : world_.deployments()) world_.warm_by_hand(id);  // forgets failures
}

void Scene::check_settled() {
  STOKER_INVARIANT(world_.server_runs(), "the server never came back");
  checker_.check_settled(world_.core(), world_);
  gateway_.check_settled(world_.now());
}

void Scene::check_ended() {
  STOKER_INVARIANT(world_.core().quiet() && world_.processes() == 0,
                   "L2 the server does not end: {} processes", world_.processes());
  STOKER_INVARIANT(world_.open_requests() == 0, "L1 {} requests never ended",
                   world_.open_requests());
  gateway_.check_settled(world_.now());
}

}  // namespace stoker::sim
