#include "sim/workload/request_maker.h"

#include "base/fnv1a.h"

namespace stoker::sim {
namespace {

std::optional<WeightedChoice> choice(std::size_t count, const std::vector<double>& weights) {
  if (count == 1) return std::nullopt;
  if (weights.empty()) return WeightedChoice(std::vector<double>(count, 1.0));
  STOKER_INVARIANT(weights.size() == count, "{} weights for {}", weights.size(), count);
  return WeightedChoice(weights);
}

TraceWorld completed(TraceWorld world) {
  if (world.deployments.empty()) world.deployments.push_back({.name = "chat"});
  if (world.tenants.empty()) world.tenants.emplace_back("default");
  return world;
}

}  // namespace

std::uint64_t seed_for(std::uint64_t seed, std::string_view use) {
  return Prng(seed ^ fnv1a(use)).next();
}

RequestMaker::RequestMaker(const GeneratorOptions& options)
    : world_(completed(options.world)),
      deployments_(choice(world_.deployments.size(), options.deployment_weights)),
      tenants_(choice(world_.tenants.size(), options.tenant_weights)),
      input_(options.mix.input),
      output_(options.mix.output),
      gone_share_(options.mix.gone_share),
      gone_within_(options.mix.gone_within),
      who_(seed_for(options.seed, "who")),
      likes_(seed_for(options.seed, "likes")) {
  usual_.route = options.mix.route;
  usual_.stream = options.mix.stream;
  usual_.priority = options.mix.priority;
  usual_.deadline = options.mix.deadline;
}

void RequestMaker::make(Duration at, TraceRequest& out) {
  out.clear();
  out.at = at;
  if (deployments_) out.deployment = static_cast<std::uint32_t>(deployments_->draw(who_));
  if (tenants_) out.tenant = static_cast<std::uint32_t>(tenants_->draw(who_));
  out.route = usual_.route;
  out.stream = usual_.stream;
  out.priority = usual_.priority;
  out.deadline = usual_.deadline;
  out.input_tokens = input_.draw(likes_);
  out.output_tokens = output_.draw(likes_);
  if (gone_share_ > 0 && bernoulli(likes_, gone_share_)) {
    out.gone_after = uniform_duration(likes_, Duration{}, gone_within_);
  }
}

}  // namespace stoker::sim
