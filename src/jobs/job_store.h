// Jobs on disk: state_dir/jobs.db (SQLite). What is written between begin() and commit() is there
// whole or not at all, and synced when commit() returns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "jobs/job.h"
#include "sqlite/database.h"

namespace stoker::jobs {

/// A submission that was made with an Idempotency-Key.
struct Repeat {
  std::string fingerprint;  // of what was asked for
  std::string job;
};

/// A call that is still to be made.
struct Webhook {
  std::string id;  // "job-....0": of the job's so manieth end, the same for every try
  std::string job;
  std::string host;
  std::int64_t attempts = 0;  // that failed
};

/// Threads: one at a time.   Errors of all: no_capacity and unavailable (the disk), corrupt.
class JobStore {
 public:
  [[nodiscard]] static Result<JobStore> open(const std::filesystem::path& file);

  [[nodiscard]] Result<void> begin();
  [[nodiscard]] Result<void> commit();
  void roll_back();

  /// Gives the job its number.
  [[nodiscard]] Result<void> insert(Job& job);
  /// Everything of it but what was asked for.
  [[nodiscard]] Result<void> update(const Job& job);
  /// Gives: nullopt if there is none, or it is another tenant's or deployment's.
  [[nodiscard]] Result<std::optional<Job>> find(std::string_view id, std::string_view tenant,
                                                std::string_view deployment);
  /// With all that was asked for; for its start.
  [[nodiscard]] Result<std::optional<Job>> find(std::string_view id);
  /// All that have not ended, in order of submission, without their bodies.
  [[nodiscard]] Result<std::vector<Job>> open_jobs();
  /// The newest, newest first, without bodies and outputs.
  [[nodiscard]] Result<std::vector<Job>> list(std::string_view tenant, std::string_view deployment,
                                              std::int64_t limit);

  [[nodiscard]] Result<std::optional<Repeat>> repeat_of(std::string_view tenant,
                                                        std::string_view idempotency_key);
  [[nodiscard]] Result<void> remember(std::string_view tenant, std::string_view idempotency_key,
                                      const Repeat& repeat, WallTime now);
  /// Drops jobs that ended before `ended_before`, and what was remembered before it.
  [[nodiscard]] Result<std::int64_t> forget(WallTime ended_before);

  /// The job has ended, and what it names at `host` is to be called, from `now` on.
  [[nodiscard]] Result<void> add_webhook(const Job& job, std::string_view host, WallTime now);
  /// The job runs again: nothing is to be called for its earlier end.
  [[nodiscard]] Result<void> drop_webhooks(std::string_view job);
  /// Those whose time has come, the longest due ones first, none of `but_hosts`.
  [[nodiscard]] Result<std::vector<Webhook>> due_webhooks(WallTime now,
                                                          const std::vector<std::string>& but_hosts,
                                                          std::int64_t limit);
  [[nodiscard]] Result<std::optional<WallTime>> next_webhook_after(WallTime now);
  [[nodiscard]] Result<void> delay_webhook(std::string_view id, std::int64_t attempts,
                                           WallTime until);
  [[nodiscard]] Result<void> end_webhook(std::string_view id);

 private:
  explicit JobStore(sqlite::Database db) : db_(std::move(db)) {}
  [[nodiscard]] Result<std::vector<Job>> select(const std::string& columns_and_where,
                                                const std::vector<std::string>& texts,
                                                std::optional<std::int64_t> number = {});

  sqlite::Database db_;
};

}  // namespace stoker::jobs
