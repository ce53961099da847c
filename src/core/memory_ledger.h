// Who holds which memory of which device. A reservation is the private bytes of an instance plus
// one shared, reference-counted reservation per weights file. Pure bookkeeping; it decides nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/units.h"
#include "core/spec.h"

namespace stoker::core {

class MemoryLedger {
 public:
  explicit MemoryLedger(Bytes capacity) : capacity_(capacity) {}

  [[nodiscard]] Bytes capacity() const { return capacity_; }
  [[nodiscard]] Bytes reserved() const { return reserved_; }
  [[nodiscard]] Bytes free() const { return capacity_ - reserved_; }
  [[nodiscard]] std::int32_t residents() const { return static_cast<std::int32_t>(held_.size()); }
  /// A bit for each weights file that is held, by bit_of(). Several may share one.
  [[nodiscard]] std::uint64_t held_weights() const;
  [[nodiscard]] static std::uint64_t bit_of(WeightsId weights) {
    return weights ? std::uint64_t{1} << (weights.value % 64) : 0;
  }

  /// What one more instance would add: its shared part costs nothing if the weights are held.
  [[nodiscard]] Bytes cost_of(const MemoryNeed& need, WeightsId weights) const;
  /// What letting go of the instance would free; of its shared part what no other holder needs.
  [[nodiscard]] Bytes freed_by(InstanceId instance) const;
  [[nodiscard]] MemoryNeed held_by(InstanceId instance) const;

  /// Needs: the instance holds nothing here; cost_of(need) <= free().
  void reserve(InstanceId instance, const MemoryNeed& need, WeightsId weights);
  /// Replaces the reservation by what was measured. Gives false, and changes nothing, if that does
  /// not fit. Needs: the instance holds a reservation.
  [[nodiscard]] bool correct(InstanceId instance, const MemoryNeed& measured);
  /// Needs: the process is known to be gone.
  void release(InstanceId instance);

  /// The sum over all holders, counted anew; equals reserved().
  [[nodiscard]] Bytes recount() const;

 private:
  struct Holding {
    Bytes private_bytes;
    Bytes shared_bytes;  // as this instance stated it; the weights' reservation is the largest
    WeightsId weights;
  };
  struct Shared {
    Bytes bytes;
    std::int32_t holders = 0;
  };
  [[nodiscard]] Bytes most_shared(WeightsId weights, InstanceId apart_from) const;

  Bytes capacity_;
  Bytes reserved_;
  std::map<InstanceId, Holding> held_;
  std::map<WeightsId, Shared> shared_;
};

}  // namespace stoker::core
