// What instances were measured to hold, kept from one life of the server to the next, so that the
// first start after a restart reserves what it will use, not what its file suggests
// (DESIGN.md 4.6). Only a hint: each start measures again. A file that is missing, stale, damaged
// or that cannot be written changes reservations at most; it never stops anything. It holds sizes
// and hashes, no paths, options or environment.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/devices/devices.h"
#include "base/result.h"
#include "core/spec.h"
#include "orchestrator/launch_spec.h"

namespace stoker::orchestrator {

/// Names all that decides how much memory an instance of the plan takes, the device kind apart:
/// name, worker, model file (path, size, time of change), options, environment, concurrency.
/// Cost: looks at the model file.
[[nodiscard]] std::string footprint_key(const DeploymentPlan& plan);

class Footprints {
 public:
  using PerKind = std::map<core::DeviceKind, core::MemoryNeed>;

  /// Reads what earlier lives left; lines that fail a check are left out.
  explicit Footprints(std::filesystem::path file);

  /// What was measured under that key. One that no device of its kind could hold is left out: it
  /// would refuse for ever what a new measurement may put right.
  [[nodiscard]] PerKind recall(const std::string& key,
                               std::span<const backend::Device> devices) const;

  /// Remembers and, if that is news, writes the file: whole or not at all, without a sync, for a
  /// power cut may take a hint. The latest 1,024 are kept; of one deployment only the last key.
  /// Errors: unavailable, no_capacity.   Threads: any.   Cost: blocks for a small write.
  [[nodiscard]] Result<void> keep(const DeploymentPlan& plan, core::DeviceKind kind,
                                  const core::MemoryNeed& measured);

  /// Lines that were left out because they failed a check.
  [[nodiscard]] std::size_t damaged_lines() const { return damaged_lines_; }

 private:
  struct Entry {
    std::string deployment;
    std::string key;
    core::DeviceKind kind = core::DeviceKind::cpu;
    core::MemoryNeed measured;
  };
  static bool parse(std::string_view line, Entry& entry);
  [[nodiscard]] std::string text() const;

  std::filesystem::path file_;
  std::size_t damaged_lines_ = 0;
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // the newest last
  bool written_ = true;         // false: the file does not hold them yet
};

}  // namespace stoker::orchestrator
