#include "core/memory_ledger.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core {

Bytes MemoryLedger::cost_of(const MemoryNeed& need, WeightsId weights) const {
  if (!weights || shared_.empty()) return need.private_bytes + need.shared_bytes;
  const auto shared = shared_.find(weights);
  const Bytes already = shared == shared_.end() ? Bytes{} : shared->second.bytes;
  return need.private_bytes + std::max(Bytes{}, need.shared_bytes - already);
}

std::uint64_t MemoryLedger::held_weights() const {
  std::uint64_t bits = 0;
  for (const auto& [weights, shared] : shared_) bits |= bit_of(weights);
  return bits;
}

Bytes MemoryLedger::freed_by(InstanceId instance) const {
  const auto it = held_.find(instance);
  if (it == held_.end()) return {};
  const auto shared = shared_.find(it->second.weights);
  if (shared == shared_.end()) return it->second.private_bytes;
  return it->second.private_bytes + shared->second.bytes -
         most_shared(it->second.weights, instance);
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
    shared_before = shared_.at(holding.weights).bytes;
    // The other holders' statement stands.
    shared_after = std::max(most_shared(holding.weights, instance), measured.shared_bytes);
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
  const WeightsId weights = it->second.weights;
  reserved_ -= it->second.private_bytes;
  held_.erase(it);
  if (!weights) return;
  const auto shared = shared_.find(weights);
  STOKER_INVARIANT(shared != shared_.end(), "weights {}", weights.value);
  const bool last = --shared->second.holders == 0;
  // Those that stay may hold less of it than the one that leaves.
  const Bytes after = last ? Bytes{} : most_shared(weights, instance);
  reserved_ -= shared->second.bytes - after;
  shared->second.bytes = after;
  if (last) shared_.erase(shared);
}

/// The most that a holder other than `apart_from` stated.
Bytes MemoryLedger::most_shared(WeightsId weights, InstanceId apart_from) const {
  Bytes most;
  for (const auto& [id, holding] : held_) {
    if (id != apart_from && holding.weights == weights) most = std::max(most, holding.shared_bytes);
  }
  return most;
}

Bytes MemoryLedger::recount() const {
  Bytes sum;
  for (const auto& [id, holding] : held_) sum += holding.private_bytes;
  for (const auto& [id, shared] : shared_) sum += shared.bytes;
  return sum;
}

}  // namespace stoker::core
