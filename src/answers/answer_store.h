// Kept answers on disk: state_dir/answers.db (SQLite), bounded in time and size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "gateway/answer_keeper.h"
#include "sqlite/database.h"

namespace stoker::answers {

struct Kept {
  std::string fingerprint;
  gateway::KeptAnswer answer;
};

/// Threads: one at a time.   Errors of all: no_capacity and unavailable (the disk), corrupt.
class AnswerStore {
 public:
  [[nodiscard]] static Result<AnswerStore> open(const std::filesystem::path& file);

  [[nodiscard]] Result<void> begin();
  /// What was written since begin() is synced when this returns.
  [[nodiscard]] Result<void> commit();
  void roll_back();

  [[nodiscard]] Result<std::optional<Kept>> find(KeyId owner, std::string_view idempotency_key);
  [[nodiscard]] Result<void> insert(const gateway::AnswerClaim& claim,
                                    const gateway::KeptAnswer& answer, WallTime now);
  /// Drops what was kept before `kept_before`, and the oldest until the rest is `most_bytes` or
  /// less.
  [[nodiscard]] Result<void> forget(WallTime kept_before, std::int64_t most_bytes);

 private:
  explicit AnswerStore(sqlite::Database db) : db_(std::move(db)) {}

  sqlite::Database db_;
};

}  // namespace stoker::answers
