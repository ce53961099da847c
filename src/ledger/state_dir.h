// The directory that one life of the server owns: lock, epoch, keys.
//
//   state_dir/lock        flock; holds the pid of the owner, for people
//   state_dir/epoch       life number, replaced whole (write, sync, rename, sync)
//   state_dir/admin.key   0600, made at the first start
//   state_dir/webhook.key 0600, made on first use; signs what is sent to webhooks
//   state_dir/access.db   keys and tenants: access/key_store.h
//   state_dir/jobs.db     jobs and their answers: jobs/job_store.h
//   state_dir/answers.db  answers kept under an Idempotency-Key: answers/answer_store.h
//   state_dir/journal/    ledger/journal.h      state_dir/ledger.db   ledger/sqlite/
//   state_dir/traffic     traffic/recorder.h; may be deleted at any time
//   state_dir/footprints  orchestrator/footprints.h; may be deleted at any time
//
// The lock goes with the process, so a crash never leaves a stale one; one that a process which was
// being started then holds for a moment is waited for.   Source: DESIGN.md 4.15.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "ledger/file_io.h"

namespace stoker::ledger {

/// Where a state directory has it, whether somebody serves from there or not.
[[nodiscard]] inline std::filesystem::path footprints_path(const std::filesystem::path& state_dir) {
  return state_dir / "footprints";
}

class StateDir {
 public:
  /// Creates the directory (0700) and its parents if needed, takes the lock, counts a new life. One
  /// that was there and lets others in is closed to them if it holds a server's state or nothing.
  /// Gives:  an epoch larger than that of every earlier life, already on the disk.
  /// Errors: in_use (names the pid of the holder), corrupt (the epoch file is not a number),
  ///         invalid (it is another user's, or open to others and holds other things),
  ///         unavailable. Without the lock nothing is changed.
  /// Cost:   half a second before in_use is given.
  [[nodiscard]] static Result<StateDir> open(std::filesystem::path directory,
                                             FileIo& io = real_file_io());

  [[nodiscard]] Epoch epoch() const { return epoch_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// The mode of a directory that others could enter until now; nullopt: it was closed already.
  [[nodiscard]] std::optional<mode_t> mode_before() const { return mode_before_; }
  [[nodiscard]] std::filesystem::path journal_path() const { return path_ / "journal"; }
  [[nodiscard]] std::filesystem::path ledger_path() const { return path_ / "ledger.db"; }
  [[nodiscard]] std::filesystem::path access_path() const { return path_ / "access.db"; }
  [[nodiscard]] std::filesystem::path jobs_path() const { return path_ / "jobs.db"; }
  [[nodiscard]] std::filesystem::path answers_path() const { return path_ / "answers.db"; }
  [[nodiscard]] std::filesystem::path traffic_path() const { return path_ / "traffic"; }
  [[nodiscard]] std::filesystem::path footprints_path() const {
    return ledger::footprints_path(path_);
  }

  /// The admin key, made (0600, 160 random bits) if this is the first start.
  /// Errors: corrupt (the file holds something else), unavailable.
  [[nodiscard]] Result<std::string> admin_key();
  /// What webhooks are signed by, from `webhook.key`, mode 0600; made on first use. Without the
  /// file all receivers need new secrets.
  [[nodiscard]] Result<std::string> webhook_key();

 private:
  StateDir(std::filesystem::path path, UniqueFd lock, Epoch epoch, FileIo& io)
      : path_(std::move(path)), lock_(std::move(lock)), epoch_(epoch), io_(&io) {}

  std::filesystem::path path_;
  UniqueFd lock_;
  Epoch epoch_;
  FileIo* io_;
  std::optional<mode_t> mode_before_;
};

/// For the CLI: the admin key of a state directory that a server made; takes no lock.
/// Errors: not_found (no server has started there), unavailable (not readable), corrupt.
[[nodiscard]] Result<std::string> load_admin_key(const std::filesystem::path& state_dir);

}  // namespace stoker::ledger
