#include "sim/workload/combine.h"

#include <utility>

#include "base/invariant.h"
#include "sim/workload/min_heap.h"
#include "sim/workload/world_builder.h"

namespace stoker::sim {
namespace {

class Merge final : public RequestSource {
 public:
  explicit Merge(std::vector<std::unique_ptr<RequestSource>> sources) {
    for (auto& source : sources) {
      inputs_.push_back(Input{.source = std::move(source)});
      for (const TraceDevice& device : inputs_.back().source->world().devices) {
        if (devices_from_ == none) devices_from_ = inputs_.size() - 1;
        if (devices_from_ == inputs_.size() - 1) names_.add_device(device);
      }
      take_names(inputs_.back());
    }
  }
  [[nodiscard]] const TraceWorld& world() const override { return names_.world(); }

  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    if (!started_) {
      started_ = true;
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        const Result<bool> more = advance(inputs_[i]);
        if (!more) return more;
        if (*more) heads_.push({inputs_[i].head.at.ns, i});
      }
    }
    if (heads_.empty()) return false;
    const std::size_t index = heads_.top().input;
    Input& input = inputs_[index];
    std::swap(out, input.head);
    const Result<bool> more = advance(input);
    if (!more) return more;
    if (*more) {
      heads_.replace_top({input.head.at.ns, index});
    } else {
      heads_.pop();
    }
    return true;
  }

 private:
  struct Input {
    std::unique_ptr<RequestSource> source;
    TraceRequest head;
    std::vector<std::uint32_t> deployments;  // the source's index -> ours
    std::vector<std::uint32_t> tenants;
  };
  struct Head {
    std::int64_t at_ns = 0;
    std::size_t input = 0;
    auto operator<=>(const Head&) const = default;
  };
  static constexpr std::size_t none = SIZE_MAX;

  /// The source's world may have grown since it was last looked at.
  void take_names(Input& input) {
    const TraceWorld& world = input.source->world();
    for (std::size_t i = input.deployments.size(); i < world.deployments.size(); ++i) {
      input.deployments.push_back(names_.add_deployment(world.deployments[i]));
    }
    for (std::size_t i = input.tenants.size(); i < world.tenants.size(); ++i) {
      input.tenants.push_back(names_.tenant(world.tenants[i]));
    }
  }
  Result<bool> advance(Input& input) {
    const Result<bool> more = input.source->next(input.head);
    if (!more || !*more) return more;
    TraceRequest& head = input.head;
    if (head.deployment >= input.deployments.size() || head.tenant >= input.tenants.size()) {
      take_names(input);
    }
    head.deployment = input.deployments.at(head.deployment);
    head.tenant = input.tenants.at(head.tenant);
    return true;
  }

  std::vector<Input> inputs_;
  WorldBuilder names_;
  std::size_t devices_from_ = none;
  MinHeap<Head> heads_;
  bool started_ = false;
};

class Limited final : public RequestSource {
 public:
  Limited(std::unique_ptr<RequestSource> source, const Limit& limit)
      : source_(std::move(source)), limit_(limit) {}
  [[nodiscard]] const TraceWorld& world() const override { return source_->world(); }
  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    if (limit_.requests <= 0) return false;
    --limit_.requests;
    Result<bool> more = source_->next(out);
    if (more && *more && limit_.until && out.at >= *limit_.until) {
      limit_.requests = 0;
      return false;
    }
    return more;
  }

 private:
  std::unique_ptr<RequestSource> source_;
  Limit limit_;
};

class Replay final : public RequestSource {
 public:
  Replay(TraceWorld world, std::vector<TraceRequest> requests)
      : world_(std::move(world)), requests_(std::move(requests)) {
    Duration last;
    for (const TraceRequest& request : requests_) {
      STOKER_INVARIANT(request.at >= last, "{} ns comes after {} ns", request.at.ns, last.ns);
      STOKER_INVARIANT(
          request.deployment < world_.deployments.size() && request.tenant < world_.tenants.size(),
          "deployment {}, tenant {}", request.deployment, request.tenant);
      last = request.at;
    }
  }
  [[nodiscard]] const TraceWorld& world() const override { return world_; }
  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    if (given_ == requests_.size()) return false;
    out = requests_[given_++];
    return true;
  }

 private:
  TraceWorld world_;
  std::vector<TraceRequest> requests_;
  std::size_t given_ = 0;
};

}  // namespace

std::unique_ptr<RequestSource> merge(std::vector<std::unique_ptr<RequestSource>> sources) {
  return std::make_unique<Merge>(std::move(sources));
}

std::unique_ptr<RequestSource> limit(std::unique_ptr<RequestSource> source, const Limit& limit) {
  return std::make_unique<Limited>(std::move(source), limit);
}

std::unique_ptr<RequestSource> replay(TraceWorld world, std::vector<TraceRequest> requests) {
  return std::make_unique<Replay>(std::move(world), std::move(requests));
}

}  // namespace stoker::sim
