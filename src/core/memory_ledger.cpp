#include "core/memory_ledger.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core {

Bytes MemoryLedger::cost_of(const MemoryNeed& need, WeightsId weights) const {
  const auto shared = shared_.find(weights);
  const Bytes already = shared == shared_.end() ? Bytes{} : shared->second.bytes;
  return need.private_bytes + std::max(Bytes{}, need.shared_bytes - already);
}

Bytes MemoryLedger::freed_by(InstanceId instance) const {
  const auto it = held_.find(instance);
  if (it == held_.end()) return {};
  const auto shared = shared_.find(it->second.weights);
  const bool last = shared != shared_.end() && shared->second.holders == 1;
  return it->second.private_bytes + (last ? shared->second.bytes : Bytes{});
}

MemoryNeed MemoryLedger::held_by(InstanceId instance) const {
  const auto it = held_.find(instance);
  if (it == held_.end()) return {};
  return {it->second.private_bytes, it->second.shared_bytes};
}

void MemoryLedger::reserve(InstanceId instance, const MemoryNeed& need, WeightsId weights) {
  const Bytes cost = cost_of(need, weights);
  STOKER_INVARIANT(!held_.contains(instance), "instance {}", instance.value);
  STOKER_INVARIANT(cost <= free(), "instance {} needs {} of {}", instance.value, cost.value,
                   free().value);
  // Without a weights file nothing is shared: all of it is private.
  const bool shares = static_cast<bool>(weights);
  held_[instance] = {shares ? need.private_bytes : need.private_bytes + need.shared_bytes,
                     shares ? need.shared_bytes : Bytes{}, weights};
  if (shares) {
    Shared& shared = shared_[weights];
    shared.bytes = std::max(shared.bytes, need.shared_bytes);
    ++shared.holders;
  }
  reserved_ += cost;
}

bool MemoryLedger::correct(InstanceId instance, const MemoryNeed& measured) {
  const auto it = held_.find(instance);
  STOKER_INVARIANT(it != held_.end(), "instance {}", instance.value);
  Holding& holding = it->second;
  const bool shares = static_cast<bool>(holding.weights);
  const Bytes new_private =
      shares ? measured.private_bytes : measured.private_bytes + measured.shared_bytes;
  Bytes shared_before;
  Bytes shared_after;
  if (shares) {
    const Shared& shared = shared_.at(holding.weights);
    shared_before = shared.bytes;
    // The other holders' statement stands; only a sole holder may lower the reservation.
    shared_after =
        shared.holders == 1 ? measured.shared_bytes : std::max(shared.bytes, measured.shared_bytes);
  }
  const Bytes after =
      reserved_ - holding.private_bytes - shared_before + new_private + shared_after;
  if (after > capacity_) return false;
  holding.private_bytes = new_private;
  if (shares) {
    holding.shared_bytes = measured.shared_bytes;
    shared_.at(holding.weights).bytes = shared_after;
  }
  reserved_ = after;
  return true;
}

void MemoryLedger::release(InstanceId instance) {
  const auto it = held_.find(instance);
  if (it == held_.end()) return;
  reserved_ -= it->second.private_bytes;
  if (it->second.weights) drop_shared(it->second.weights);
  held_.erase(it);
}

void MemoryLedger::drop_shared(WeightsId weights) {
  const auto shared = shared_.find(weights);
  STOKER_INVARIANT(shared != shared_.end(), "weights {}", weights.value);
  if (--shared->second.holders > 0) return;
  reserved_ -= shared->second.bytes;
  shared_.erase(shared);
}

Bytes MemoryLedger::recount() const {
  Bytes sum;
  for (const auto& [id, holding] : held_) sum += holding.private_bytes;
  for (const auto& [id, shared] : shared_) sum += shared.bytes;
  return sum;
}

}  // namespace stoker::core
