// Control groups of our instances, where the machine permits them: a memory limit, a limit of
// processes, and a fence that nothing can leave by a double fork. Version 2 and version 1 (each
// controller a tree of its own); which one is found out at start. Everything lies below the group
// that we were started in, in one folder for each state directory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace stoker::backend {

/// Where our own process lies in the trees. Empty: no such controller here.
struct CgroupPlaces {
  std::string unified;  // version 2 with memory and pids
  std::string memory;   // version 1
  std::string pids;     // version 1
};
/// Reads /proc/self/mountinfo and /proc/self/cgroup.
/// Gives: folders below which our groups may be made; existence is not checked.
[[nodiscard]] CgroupPlaces parse_cgroup_places(std::string_view mountinfo,
                                               std::string_view self_cgroup);

struct CgroupLimits {
  Bytes memory;           // 0: none
  std::int32_t pids = 0;  // 0: none
};

/// The groups of one instance. Removing is explicit: it can fail.
class Cgroup {
 public:
  Cgroup(std::vector<std::string> folders, std::string memory_folder)
      : folders_(std::move(folders)), memory_folder_(std::move(memory_folder)) {}

  /// The process and its later children belong to the instance.
  [[nodiscard]] Result<void> attach(pid_t pid) const;
  /// Processes in it that are not yet dead.
  [[nodiscard]] std::vector<pid_t> members() const;
  /// SIGKILL to all that are in it now. A fork may slip through: repeat until members() is empty.
  void kill_members() const;
  /// How often the kernel killed in it for want of memory.
  [[nodiscard]] std::int64_t oom_kills() const;
  /// Gives: false if the kernel still holds it; try again later.
  [[nodiscard]] bool remove() const;

 private:
  std::vector<std::string> folders_;  // one for version 2, up to two for version 1
  std::string memory_folder_;         // empty: no memory controller
};

/// Makes the groups of instances.
class CgroupFactory {
 public:
  /// `owner` names the folder ("stoker-<hash>"). Groups of an earlier life in it are left for
  /// leftovers(). Never fails: without permission it makes none, and says why.
  /// Needs: nobody else with the same owner.
  static CgroupFactory open(const CgroupPlaces& places, const std::string& owner);

  [[nodiscard]] bool limits_memory() const { return !memory_parent_.empty(); }
  [[nodiscard]] bool limits_pids() const { return !pids_parent_.empty(); }
  /// Why one of the two is not there; empty if both are.
  [[nodiscard]] const std::string& problem() const { return problem_; }

  /// Gives: nullopt where the machine permits no group at all.
  /// Errors: unavailable (the kernel refused a limit).
  [[nodiscard]] Result<std::optional<Cgroup>> create(const std::string& name,
                                                     const CgroupLimits& limits) const;
  [[nodiscard]] std::vector<Cgroup> leftovers() const;
  /// Removes the owner's folder, unless a group is still in it.
  void dissolve() const;

 private:
  [[nodiscard]] Cgroup group(const std::string& name) const;

  bool unified_ = false;
  std::string memory_parent_;  // the same folder as pids_parent_ for version 2
  std::string pids_parent_;
  std::string problem_;
};

/// Places of this process now.
[[nodiscard]] CgroupPlaces find_cgroup_places();

/// Least memory that the groups above and of this process still allow it; nullopt: no limit.
[[nodiscard]] std::optional<Bytes> cgroup_memory_headroom();

}  // namespace stoker::backend
