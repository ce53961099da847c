// Money, in double entry: an amount leaves one account as it enters another, so that all balances
// sum to zero at all times. Positive balances are owed to us. Each key has an account, and its
// tenant's is the sum of its keys'. Balances change by post() alone; a correction is a new entry,
// never a change of an old one (M10).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/money.h"

namespace stoker::core::metering {

struct Entry;

class Account {
 public:
  [[nodiscard]] Pico balance() const { return balance_; }

 private:
  friend void post(const Entry& entry);
  Pico balance_;
};

/// The platform's own accounts.
enum class OwnAccount : std::uint8_t {
  revenue_requests,
  revenue_device_time,
  revenue_input_tokens,
  revenue_output_tokens,
  brought_forward,  // what an earlier life of the server had booked
  credits           // payments, gifts and corrections
};
inline constexpr std::size_t own_accounts = 6;

/// What is booked at once.
struct Entry {
  struct Posting {
    Account* account = nullptr;
    Account* part_of = nullptr;  // the tenant's, for a key's
    Pico amount;
  };
  std::array<Posting, 5> postings;
  std::size_t count = 0;
  /// Nothing is posted for nothing.
  void add(Account& account, Pico amount, Account* part_of = nullptr) {
    if (amount != Pico{}) postings[count++] = {&account, part_of, amount};
  }
};

/// Needs: the postings sum to 0.
/// Errors: a balance beyond 128 bits is an invariant failure.
void post(const Entry& entry);

/// Errors: a sum beyond 128 bits is an invariant failure.
[[nodiscard]] Pico added(Pico a, Pico b);

}  // namespace stoker::core::metering
