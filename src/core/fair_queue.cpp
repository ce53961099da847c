#include "core/fair_queue.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core {
namespace {
/// Virtual time per unit of cost at weight 1; divisible by the usual weights.
constexpr std::int64_t scale = 5040;
}  // namespace

std::int32_t FairQueue::size_of(TenantId tenant) const {
  const auto it = tenants_.find(tenant);
  return it == tenants_.end() ? 0 : static_cast<std::int32_t>(it->second.waiting.size());
}

void FairQueue::push(const QueuedRequest& request) {
  STOKER_INVARIANT(request.cost >= 1, "request {}", request.request.value);
  Tenant& tenant = tenants_[request.tenant];
  if (tenant.waiting.empty()) {
    // Time without work earns nothing: it starts with the others, not before them.
    tenant.start = std::max(tenant.start, virtual_time_);
    turns_.insert({tenant.start, request.tenant});
  }
  const bool is_new = tenant.waiting.emplace(Key{-request.priority, request.order}, request).second;
  STOKER_INVARIANT(is_new, "request {} order {}", request.request.value, request.order);
  ++size_;
}

const QueuedRequest& FairQueue::front() const {
  STOKER_INVARIANT(!turns_.empty(), "{} wait", size_);
  return tenants_.at(turns_.begin()->second).waiting.begin()->second;
}

void FairQueue::pop() {
  STOKER_INVARIANT(!turns_.empty(), "{} wait", size_);
  const TenantId id = turns_.begin()->second;
  turns_.erase(turns_.begin());
  Tenant& tenant = tenants_.at(id);
  const auto first = tenant.waiting.begin();
  virtual_time_ = tenant.start;
  tenant.start += first->second.cost * scale / tenant.weight;
  tenant.waiting.erase(first);
  --size_;
  if (!tenant.waiting.empty()) {
    turns_.insert({tenant.start, id});
  } else if (tenants_.size() > 2 * turns_.size() + 8) {
    forget_idle_tenants();
  }
}

bool FairQueue::erase(TenantId id, std::int32_t priority, std::uint64_t order) {
  const auto it = tenants_.find(id);
  if (it == tenants_.end() || it->second.waiting.erase(Key{-priority, order}) == 0) return false;
  --size_;
  if (it->second.waiting.empty()) turns_.erase({it->second.start, id});
  return true;
}

void FairQueue::charge(TenantId id, std::int64_t difference) {
  const auto it = tenants_.find(id);
  if (it == tenants_.end()) return;  // long idle: it owes nothing that others wait for
  Tenant& tenant = it->second;
  const bool waits = !tenant.waiting.empty();
  if (waits) turns_.erase({tenant.start, id});
  tenant.start = std::max(tenant.start + difference * scale / tenant.weight, virtual_time_);
  if (waits) turns_.insert({tenant.start, id});
}

std::int32_t FairQueue::position(TenantId id, std::int32_t priority, std::uint64_t order,
                                 std::int32_t most) const {
  const Tenant& own = tenants_.at(id);
  const Key key{-priority, order};
  std::int64_t start = own.start;  // its own, once those before it in its lane are counted
  std::int32_t place = 1;
  for (const auto& [each, request] : own.waiting) {
    if (!(each < key)) break;
    start += request.cost * scale / own.weight;
    if (++place > most) return 0;
  }
  for (const auto& [first, other] : turns_) {
    if (Turn{first, other} > Turn{start, id}) break;
    if (other == id) continue;
    const Tenant& tenant = tenants_.at(other);
    std::int64_t turn = first;
    for (const auto& [each, request] : tenant.waiting) {
      if (Turn{turn, other} > Turn{start, id}) break;
      turn += request.cost * scale / tenant.weight;
      if (++place > most) return 0;
    }
  }
  return place;
}

void FairQueue::set_weight(TenantId tenant, std::int32_t weight) {
  STOKER_INVARIANT(weight >= 1, "tenant {} weight {}", tenant.value, weight);
  tenants_[tenant].weight = weight;
}

/// Bounds memory by those who wait: without debt and with the usual weight there is nothing to
/// remember.
void FairQueue::forget_idle_tenants() {
  std::erase_if(tenants_, [&](const auto& entry) {
    const Tenant& tenant = entry.second;
    return tenant.waiting.empty() && tenant.weight == 1 && tenant.start <= virtual_time_;
  });
}

}  // namespace stoker::core
