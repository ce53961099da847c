// What the admin routes (/api/v1/...) ask of the rest of the server. Owned by the gateway,
// implemented by the orchestrator and the ledger. Answers are JSON text, ready to be sent.
//
// All methods but ready() and can_serve() are called on the gateway's one admin thread, never on
// an event loop, so that they may read files and the database.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace stoker::gateway {

/// Receives the lines of something that is followed.
/// Threads: any; the gateway's implementation only posts to its loop.
class LineSink {
 public:
  virtual ~LineSink() = default;
  /// One event as JSON, or one line of a log; without its newline.
  virtual void on_line(std::string_view line) = 0;
  /// Nothing more will come (the instance is gone).
  virtual void on_closed() = 0;
};

/// Following ends when this is destroyed. After the destructor the sink is not called any more.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

/// What the caller may see; the rest does not exist for it (C5 in RELIABILITY.md).
struct Sight {
  std::string tenant;                    // whose requests and usage; empty: everybody's
  std::vector<std::string> deployments;  // names; empty: all
  [[nodiscard]] bool covers(std::string_view deployment) const {
    return deployments.empty() ||
           std::find(deployments.begin(), deployments.end(), deployment) != deployments.end();
  }
};

struct EventFilter {
  std::uint64_t since = 0;   // sequence number of the last event that the caller has seen
  std::string deployment;    // empty: all
  std::int64_t limit = 200;  // newest so many
  Sight sight;
  /// What happened to no deployment in particular is for those who see them all.
  [[nodiscard]] bool wants(std::string_view of) const {
    return (deployment.empty() || of == deployment) && sight.covers(of);
  }
};
struct RequestFilter {
  std::int64_t limit = 50;  // newest so many
  std::string deployment;   // empty: all
  std::string outcome;      // empty: all; else as ledger::to_text(Outcome)
  Sight sight;
};
struct UsageFilter {
  std::string deployment;         // empty: all
  std::optional<WallTime> from;   // inclusive
  std::optional<WallTime> to;     // exclusive
  std::string by = "deployment";  // what to group by: deployment | tenant | day
  Sight sight;
};

/// What became of reading the configuration anew.
struct ReloadReport {
  bool ok = false;  // false: everything stays as it was
  /// {"ok", "added", "changed", "replaced", "removed", "settings", "needs_restart", "problems"}
  std::string json;
};

/// Where a deployment or an instance is named, an alias does too. A filter for a deployment that is
/// neither configured nor in what is read gives not_found, so that a misspelling is not silence.
///
/// Errors: not_found -> 404, invalid -> 400, in_use -> 409, no_capacity and unavailable -> 503,
/// everything else -> 500.
class AdminApi {
 public:
  virtual ~AdminApi() = default;

  /// Threads: any; must not block. False: /readyz answers 503.
  virtual bool ready() const = 0;
  /// Threads: any; must not block. True if a request to the deployment would be queued or run, cold
  /// ones included; false while it is stopped, crash-looping or can never fit.
  virtual bool can_serve(DeploymentId deployment) const = 0;

  /// `deployment`, a name or an alias: only it and its instances, no devices; empty: everything.
  virtual Result<std::string> ps_json(std::string_view deployment, const Sight& sight) = 0;
  virtual Result<std::string> events_json(const EventFilter& filter) = 0;
  /// What the scheduler ordered and why, the sending of single requests left out.
  virtual Result<std::string> decisions_json(const EventFilter& filter) = 0;
  virtual Result<std::unique_ptr<Subscription>> follow_events(const EventFilter& filter,
                                                              std::shared_ptr<LineSink> sink) = 0;
  /// `name` is an instance ("chat/3") or a deployment (all its instances). Plain text.
  virtual Result<std::string> log_text(std::string_view name, std::int64_t lines,
                                       const Sight& sight) = 0;
  virtual Result<std::unique_ptr<Subscription>> follow_log(std::string_view name,
                                                           std::int64_t lines, const Sight& sight,
                                                           std::shared_ptr<LineSink> sink) = 0;
  virtual Result<std::string> request_json(RequestId request, const Sight& sight) = 0;
  virtual Result<std::string> requests_json(const RequestFilter& filter) = 0;
  virtual Result<std::string> usage_json(const UsageFilter& filter) = 0;
  /// Orders an instance; gives the state of the deployment. Does not wait for it to be ready.
  /// Errors: no_capacity, where none can ever be.
  virtual Result<std::string> warm(std::string_view deployment) = 0;
  /// Drains and stops all instances of a deployment, or one instance ("chat/3"); gives the state of
  /// the deployment.
  virtual Result<std::string> stop(std::string_view name) = 0;

  /// Reads the configuration file anew and does what it says.
  virtual ReloadReport reload() = 0;

  // Keys: bodies and answers as access::KeyAdmin has them.
  virtual Result<std::string> keys_json() = 0;
  virtual Result<std::string> create_key(std::string_view body) = 0;
  virtual Result<std::string> change_key(std::string_view id, std::string_view body) = 0;
  virtual Result<std::string> revoke_key(std::string_view id, bool hard) = 0;
  /// {"tenant", "secret"}: what calls to webhooks of its jobs are signed with.   Errors: invalid.
  virtual Result<std::string> webhook_secret_json(std::string_view tenant) = 0;
};

}  // namespace stoker::gateway
