// What may be left of an instance after its leader has ended, and of a whole earlier life of the
// server. Blocking; on the spawner's thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "backend/process/cgroup.h"

namespace stoker::backend {

struct Remains {
  pid_t leader = 0;  // ended but not reaped, so that its group number is still its own
  int fence = -1;    // pidfd of process 1 of the namespace; -1: none
  std::optional<Cgroup> cgroup;
  std::string mark;  // "NAME=value" in the environment of all of it
};

/// Whether nothing is left, by passes over /proc that kill what they find and give how many that
/// were. One that finds nothing proves nothing: a process that it listed may have forked and ended
/// before it was looked at, as every daemon begins. The child stays, and the second finds it.
[[nodiscard]] bool none_left(const std::function<std::size_t()>& pass);

/// Sends SIGKILL to what is left.   Gives: whether nothing was left (zombies are nothing).
/// Without a fence it finds children by process group, cgroup and environment; a process that left
/// all three without a cgroup is lost to us, which is why `doctor` asks for a sandbox.
/// Cost: 0.1 ms with a fence, up to two passes over /proc without.
[[nodiscard]] bool clear_remains(const Remains& remains);

/// Ends all processes that carry `mark` ("STOKER_STATE=<tag>") and removes the factory's old
/// groups. Gives: how many processes were killed.
/// Cost: blocks until they are gone, at most 5 s.
int clear_earlier_life(const std::string& mark, const CgroupFactory& cgroups);

}  // namespace stoker::backend
