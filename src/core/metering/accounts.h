// Money, in double entry: an amount leaves one account as it enters another, so that all balances
// sum to zero at all times. Positive balances are owed to us. Each key has an account, and is part
// of its tenant's. Balances change by post() alone; a correction is a new entry (M10).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/money.h"
#include "base/units.h"

namespace stoker::core::metering {

using AccountId = Id<struct AccountTag>;

/// The platform's own accounts; they are there from the beginning.
inline constexpr AccountId revenue_requests{1};
inline constexpr AccountId revenue_device_time{2};
inline constexpr AccountId revenue_input_tokens{3};
inline constexpr AccountId revenue_output_tokens{4};
inline constexpr AccountId brought_forward{5};  // what an earlier life of the server had booked
inline constexpr AccountId credits{6};          // payments, gifts and corrections

struct Posting {
  AccountId account;
  Pico amount;
};
/// What is booked at once.
struct Entry {
  std::array<Posting, 5> postings{};
  std::size_t count = 0;
  /// Nothing is posted for nothing.
  void add(AccountId account, Pico amount) {
    if (amount != Pico{}) postings[count++] = {account, amount};
  }
};

/// Errors: a sum beyond 128 bits is an invariant failure.
[[nodiscard]] Pico added(Pico a, Pico b);

class Accounts {
 public:
  Accounts();
  /// Opens an account with a balance of 0, for a tenant.
  AccountId open();
  /// And for a key of that tenant.
  AccountId open_within(AccountId tenant);
  /// Needs: the postings sum to 0, each to one of ours or a key's.
  /// Errors: a balance beyond 128 bits is an invariant failure.   Cost: O(postings).
  void post(const Entry& entry);
  /// Of a key, of all keys of a tenant together, or of one of ours.
  [[nodiscard]] Pico balance(AccountId id) const;
  /// Sum of all balances is 0, and each tenant's is that of its keys.
  void check_invariants() const;

 private:
  enum class Kind : std::uint8_t { own, tenant, key };
  struct Account {
    Pico balance;
    AccountId tenant;  // of a key
    Kind kind = Kind::own;
  };
  [[nodiscard]] Account& at(AccountId id);
  std::vector<Account> accounts_;  // by id - 1
};

}  // namespace stoker::core::metering
