// The ledger as its readers see it: one row per ended request, immutable, each with the prices of
// its admission. Filled from the journal; nobody writes to it directly. SQLite today
// (ledger/sqlite/), PostgreSQL where several gateways share one.
//
// Must never hold prompts or outputs, and never price a row anew.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/money.h"
#include "base/result.h"
#include "base/units.h"
#include "ledger/record.h"

namespace stoker::ledger {

struct RequestRow {
  Admission admission;
  Usage usage;
  Pico amount;  // amount_of(admission.prices, usage), fixed when the row was written
};

/// Unset members do not restrict.
struct RequestFilter {
  std::optional<std::string> deployment;
  std::optional<std::string> tenant;
  std::vector<std::string> within;  // one of these deployments; empty: any
  std::optional<Outcome> outcome;
  std::optional<WallTime> since;    // ended at or after
  std::optional<WallTime> until;    // ended before
  std::optional<RequestId> before;  // the page after the one that ended with this request
  std::uint32_t max_rows = 100;     // 1 .. 10,000
};

/// Which columns totals are kept apart by; none: one line for everything.
struct TotalsQuery {
  bool by_deployment = false;
  bool by_tenant = false;
  bool by_day = false;  // UTC day on which the request ended
  std::optional<std::string> deployment;
  std::optional<std::string> tenant;
  std::vector<std::string> within;  // one of these deployments; empty: any
  std::optional<WallTime> since;
  std::optional<WallTime> until;
};

struct UsageTotals {
  std::string deployment;  // empty if not grouped by it
  std::string tenant;
  std::string day;  // "2026-01-31"
  std::int64_t requests = 0;
  std::int64_t completed = 0;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t device_ms = 0;
  Pico amount;  // exact
};

/// What a key used at about one time.
struct KeyUse {
  std::string key;  // public id
  WallTime at;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t device_ms = 0;
};

/// Threads: any, for every function. Cost: disk reads; never on an event loop.
class Ledger {
 public:
  virtual ~Ledger() = default;

  /// Sees every request whose ending was appended to the journal before the call.
  /// Gives: nothing if the request is unknown or has not ended.
  [[nodiscard]] virtual Result<std::optional<RequestRow>> find(RequestId request) = 0;
  /// Newest first, by request id.
  [[nodiscard]] virtual Result<std::vector<RequestRow>> list(const RequestFilter& filter) = 0;
  /// Ordered by day, deployment, tenant. No line for groups without requests; without grouping
  /// always exactly one line.
  [[nodiscard]] virtual Result<std::vector<UsageTotals>> totals(const TotalsQuery& query) = 0;
  [[nodiscard]] virtual Result<std::int64_t> count() = 0;
  /// Of requests that ran and came with a key, oldest first: those that ended since `each_since`
  /// one by one, older ones since `since` summed up by the quarter of an hour.
  [[nodiscard]] virtual Result<std::vector<KeyUse>> uses(WallTime since, WallTime each_since) = 0;

  /// Waits until everything appended to the journal before the call is stored here.
  /// list(), totals() and count() trail the journal by a fraction of a second without it.
  [[nodiscard]] virtual Result<void> flush() = 0;
};

}  // namespace stoker::ledger
