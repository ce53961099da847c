#include "core/metering/accounts.h"

#include "base/invariant.h"

namespace stoker::core::metering {

Pico added(Pico a, Pico b) {
  Pico sum;
  const bool too_large = __builtin_add_overflow(a.value, b.value, &sum.value);
  STOKER_INVARIANT(!too_large, "a balance does not fit in 128 bits");
  return sum;
}

Accounts::Accounts() : accounts_(credits.value) {}

Accounts::Account& Accounts::at(AccountId id) {
  STOKER_INVARIANT(id && id.value <= accounts_.size(), "account {}", id.value);
  return accounts_[id.value - 1];
}

AccountId Accounts::open() {
  accounts_.push_back({Pico{}, AccountId{}, Kind::tenant});
  return AccountId{accounts_.size()};
}

AccountId Accounts::open_within(AccountId tenant) {
  STOKER_INVARIANT(at(tenant).kind == Kind::tenant, "account {}", tenant.value);
  accounts_.push_back({Pico{}, tenant, Kind::key});
  return AccountId{accounts_.size()};
}

void Accounts::post(const Entry& entry) {
  Pico sum;
  for (std::size_t i = 0; i < entry.count; ++i) sum = added(sum, entry.postings[i].amount);
  STOKER_INVARIANT(sum == Pico{}, "V25 {} postings do not sum to 0", entry.count);
  for (std::size_t i = 0; i < entry.count; ++i) {
    const Posting& posting = entry.postings[i];
    Account& account = at(posting.account);
    STOKER_INVARIANT(account.kind != Kind::tenant, "account {}", posting.account.value);
    account.balance = added(account.balance, posting.amount);
    if (account.kind != Kind::key) continue;
    Account& tenant = at(account.tenant);
    tenant.balance = added(tenant.balance, posting.amount);
  }
}

Pico Accounts::balance(AccountId id) const {
  return const_cast<Accounts*>(this)->at(id).balance;
}

void Accounts::check_invariants() const {
  Pico sum;
  std::vector<Pico> of_keys(accounts_.size());
  for (const Account& each : accounts_) {
    if (each.kind != Kind::tenant) sum = added(sum, each.balance);
    if (each.kind == Kind::key) {
      Pico& tenant = of_keys[each.tenant.value - 1];
      tenant = added(tenant, each.balance);
    }
  }
  STOKER_INVARIANT(sum == Pico{}, "V25 the books do not balance");
  for (std::size_t i = 0; i < accounts_.size(); ++i) {
    STOKER_INVARIANT(accounts_[i].kind != Kind::tenant || accounts_[i].balance == of_keys[i],
                     "M6 account {} is not the sum of its keys", i + 1);
  }
}

}  // namespace stoker::core::metering
