#include "backend/process/remains.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <vector>

#include "backend/process/proc_fs.h"
#include "base/units.h"
#include "net/clock.h"

namespace stoker::backend {
namespace {

constexpr Duration earlier_life_limit = seconds(5);

bool is_dead(pid_t pid) {
  const std::optional<ProcessStat> stat = stat_of(pid);
  return !stat || stat->zombie;
}

/// Without a namespace round it: everything that shows one of the marks of belonging.
bool clear_unfenced(const Remains& remains) {
  const std::function<bool(pid_t)> is_left = [&](pid_t pid) {
    if (pid == remains.leader || pid == ::getpid()) return false;
    const std::optional<ProcessStat> stat = stat_of(pid);
    if (!stat || stat->zombie) return false;
    return stat->group == remains.leader || has_environment(pid, remains.mark);
  };
  return none_left([&] {
    const std::vector<pid_t> left = processes_where(is_left);
    for (const pid_t pid : left) signal_if(pid, SIGKILL, is_left);
    return left.size();
  });
}

bool clear_cgroup(const Remains& remains) {
  if (!remains.cgroup) return true;
  bool empty = true;
  for (const pid_t pid : remains.cgroup->members()) {
    empty = empty && (pid == remains.leader || is_dead(pid));
  }
  if (!empty) remains.cgroup->kill_members();
  return empty;
}

}  // namespace

bool none_left(const std::function<std::size_t()>& pass) {
  return pass() == 0 && pass() == 0;
}

bool clear_remains(const Remains& remains) {
  bool clear = clear_cgroup(remains);
  if (remains.fence >= 0) {
    signal_pidfd(remains.fence, SIGKILL);
    return wait_for_end(remains.fence, 0) && clear;
  }
  return clear_unfenced(remains) && clear;
}

int clear_earlier_life(const std::string& mark, const CgroupFactory& cgroups) {
  const std::function<bool(pid_t)> is_old = [&](pid_t pid) {
    return pid != ::getpid() && has_environment(pid, mark);
  };
  const std::vector<Cgroup> groups = cgroups.leftovers();
  const Instant deadline = net::monotonic_now() + earlier_life_limit;
  std::size_t killed = 0;
  const auto pass = [&] {
    std::size_t left = 0;
    for (const pid_t pid : processes_where(is_old)) {
      if (!is_dead(pid) && signal_if(pid, SIGKILL, is_old)) ++left;
    }
    for (const Cgroup& group : groups) {
      if (!group.members().empty()) ++left;
      group.kill_members();
    }
    killed = std::max(killed, left);
    return left;
  };
  while (!none_left(pass) && net::monotonic_now() <= deadline) {
    ::poll(nullptr, 0, 5);  // they are not our children, so nothing wakes us
  }
  for (const Cgroup& group : groups) (void)group.remove();
  return static_cast<int>(killed);
}

}  // namespace stoker::backend
