#include "core/metering/accounts.h"

#include "base/invariant.h"

namespace stoker::core::metering {

Pico added(Pico a, Pico b) {
  Pico sum;
  const bool too_large = __builtin_add_overflow(a.value, b.value, &sum.value);
  STOKER_INVARIANT(!too_large, "a sum of money does not fit in 128 bits");
  return sum;
}

void post(const Entry& entry) {
  Pico sum;
  for (std::size_t i = 0; i < entry.count; ++i) sum = added(sum, entry.postings[i].amount);
  STOKER_INVARIANT(sum == Pico{}, "V25 {} postings do not sum to 0", entry.count);
  for (std::size_t i = 0; i < entry.count; ++i) {
    const Entry::Posting& posting = entry.postings[i];
    posting.account->balance_ = added(posting.account->balance_, posting.amount);
    if (posting.part_of == nullptr) continue;
    posting.part_of->balance_ = added(posting.part_of->balance_, posting.amount);
  }
}

}  // namespace stoker::core::metering
