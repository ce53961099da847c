#include "backend/process/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <memory>

#include "backend/process/proc_fs.h"
#include "base/text.h"
#include "base/unique_fd.h"

namespace stoker::backend {
namespace {

constexpr std::string_view supervisor_folder = "/stoker-supervisor";

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

Result<void> write_file(const std::string& path, std::string_view value) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
    return tl::unexpected(errno_error(fmt::format("write {} to {}", value, path)));
  }
  return {};
}

/// Value of "KEY N" in a flat-keyed file; 0 if it is not there.
std::int64_t keyed_value(const std::string& path, std::string_view key) {
  const std::optional<std::string> text = read_small_file(path);
  if (!text) return 0;
  for (const std::string_view line : split(*text, '\n')) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ') continue;
    std::int64_t value = 0;
    std::from_chars(line.data() + key.size() + 1, line.data() + line.size(), value);
    return value;
  }
  return 0;
}

/// A number file; nullopt for "max", an unreadable file, or version 1's "no limit" (near 2^63).
std::optional<std::int64_t> limit_in(const std::string& path) {
  const std::optional<std::string> text = read_small_file(path);
  std::int64_t value = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || value >= (std::int64_t{1} << 60)) return std::nullopt;
  return value;
}

struct CgroupMount {
  std::string point;
  std::string root;  // the part of the tree that is mounted there
  bool version2 = false;
  std::string controllers;  // version 1: super options, "rw,memory"
};

std::vector<CgroupMount> cgroup_mounts(std::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  for (const std::string_view line : split(mountinfo, '\n')) {
    // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE SUPER_OPTIONS
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const std::vector<std::string_view> front = split(line.substr(0, dash), ' ');
    const std::vector<std::string_view> back = split(line.substr(dash + 3), ' ');
    if (front.size() < 6 || back.size() < 3 || !back[0].starts_with("cgroup")) continue;
    mounts.push_back({.point = std::string(front[4]),
                      .root = std::string(front[3]),
                      .version2 = back[0] == "cgroup2",
                      .controllers = std::string(back[2])});
  }
  return mounts;
}

/// Our place in one tree as a folder: where the tree is mounted + our path below the mounted root.
std::string folder_of(const CgroupMount& mount, std::string_view own_path) {
  if (mount.root != "/" && own_path.starts_with(mount.root)) {
    own_path.remove_prefix(mount.root.size());
  }
  return own_path == "/" || own_path.empty() ? mount.point : mount.point + std::string(own_path);
}

bool lists(std::string_view comma_list, std::string_view word) {
  const std::vector<std::string_view> words = split(comma_list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool make_folder(const std::string& path) {
  return ::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST;
}

std::vector<std::string> folders_in(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), &::closedir);
  while (const dirent* entry = folder ? ::readdir(folder.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.push_back(name);
  }
  return names;
}

/// Version 2 gives controllers only to groups without processes of their own, so we first move
/// into a group beside those of the instances. That is what systemd's Delegate=yes is for.
Result<void> delegate_controllers(const std::string& own) {
  const std::string aside = own + std::string(supervisor_folder);
  if (!make_folder(aside)) return tl::unexpected(errno_error("make " + aside));
  if (Result<void> moved = write_file(aside + "/cgroup.procs", "0"); !moved) return moved;
  Result<void> enabled = write_file(own + "/cgroup.subtree_control", "+memory +pids");
  if (!enabled) {
    (void)write_file(own + "/cgroup.procs", "0");
    ::rmdir(aside.c_str());
  }
  return enabled;
}

}  // namespace

CgroupPlaces parse_cgroup_places(std::string_view mountinfo, std::string_view self_cgroup) {
  const std::vector<CgroupMount> mounts = cgroup_mounts(mountinfo);
  CgroupPlaces places;
  for (const std::string_view line : split(self_cgroup, '\n')) {
    // NUMBER:CONTROLLERS:PATH, version 2 has "0::PATH"
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    for (const CgroupMount& mount : mounts) {
      if (mount.version2 && controllers.empty()) places.unified = folder_of(mount, path);
      if (mount.version2) continue;
      if (lists(controllers, "memory") && lists(mount.controllers, "memory")) {
        places.memory = folder_of(mount, path);
      }
      if (lists(controllers, "pids") && lists(mount.controllers, "pids")) {
        places.pids = folder_of(mount, path);
      }
    }
  }
  // Where delegate_controllers() put us; the instances' groups lie beside it, not in it.
  if (places.unified.ends_with(supervisor_folder)) {
    places.unified.resize(places.unified.size() - supervisor_folder.size());
  }
  // Hybrid machines mount version 2 without controllers; limits are then version 1's.
  if (!places.memory.empty() || !places.pids.empty()) places.unified.clear();
  return places;
}

CgroupPlaces find_cgroup_places() {
  return parse_cgroup_places(read_small_file("/proc/self/mountinfo").value_or(""),
                             read_small_file("/proc/self/cgroup").value_or(""));
}

Result<void> Cgroup::attach(pid_t pid) const {
  for (const std::string& folder : folders_) {
    Result<void> written = write_file(folder + "/cgroup.procs", std::to_string(pid));
    if (!written) return written;
  }
  return {};
}

std::vector<pid_t> Cgroup::members() const {
  std::vector<pid_t> pids;
  for (const std::string& folder : folders_) {
    const std::optional<std::string> text = read_small_file(folder + "/cgroup.procs");
    for (const std::string_view line : split(text ? std::string_view(*text) : "", '\n')) {
      pid_t pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (pid > 0) pids.push_back(pid);
    }
  }
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

void Cgroup::kill_members() const {
  // Version 2 (Linux 5.14): all at once, forks included.
  if (folders_.size() == 1 && write_file(folders_.front() + "/cgroup.kill", "1")) return;
  for (const pid_t pid : members()) {
    signal_if(pid, SIGKILL, [this](pid_t one) {
      const std::vector<pid_t> now = members();
      return std::binary_search(now.begin(), now.end(), one);
    });
  }
}

std::int64_t Cgroup::oom_kills() const {
  if (memory_folder_.empty()) return 0;
  return std::max(keyed_value(memory_folder_ + "/memory.events", "oom_kill"),
                  keyed_value(memory_folder_ + "/memory.oom_control", "oom_kill"));
}

bool Cgroup::remove() const {
  bool removed = true;
  for (const std::string& folder : folders_) {
    removed = (::rmdir(folder.c_str()) == 0 || errno == ENOENT) && removed;
  }
  return removed;
}

CgroupFactory CgroupFactory::open(const CgroupPlaces& places, const std::string& owner) {
  CgroupFactory factory;
  if (!places.unified.empty()) {
    const std::string parent = places.unified + "/" + owner;
    Result<void> ready = delegate_controllers(places.unified);
    if (ready && !make_folder(parent)) ready = tl::unexpected(errno_error("make " + parent));
    if (ready) ready = write_file(parent + "/cgroup.subtree_control", "+memory +pids");
    if (ready) {
      factory.unified_ = true;
      factory.memory_parent_ = factory.pids_parent_ = parent;
    } else {
      factory.problem_ = ready.error().message;
    }
    return factory;
  }
  const auto open_controller = [&](const std::string& place, const char* name) -> std::string {
    const std::string parent = place + "/" + owner;
    if (!place.empty() && make_folder(parent)) return parent;
    factory.problem_ += factory.problem_.empty() ? "" : "; ";
    factory.problem_ += place.empty() ? fmt::format("no {} controller is mounted", name)
                                      : errno_error("make " + parent).message;
    return {};
  };
  factory.memory_parent_ = open_controller(places.memory, "memory");
  factory.pids_parent_ = open_controller(places.pids, "pids");
  return factory;
}

Cgroup CgroupFactory::group(const std::string& name) const {
  const auto below = [&](const std::string& parent) {
    return parent.empty() ? std::string() : parent + "/" + name;
  };
  std::vector<std::string> folders;
  if (limits_memory()) folders.push_back(below(memory_parent_));
  if (limits_pids() && !unified_) folders.push_back(below(pids_parent_));
  return {std::move(folders), below(memory_parent_)};
}

Result<std::optional<Cgroup>> CgroupFactory::create(const std::string& name,
                                                    const CgroupLimits& limits) const {
  if (!limits_memory() && !limits_pids()) return std::nullopt;
  const Cgroup made = group(name);
  const std::string memory = memory_parent_ + "/" + name;
  const std::string pids = pids_parent_ + "/" + name;
  Result<void> done;
  if (limits_memory() && !make_folder(memory)) done = tl::unexpected(errno_error("make " + memory));
  if (done && limits_pids() && !make_folder(pids))
    done = tl::unexpected(errno_error("make " + pids));
  if (done && limits_memory() && limits.memory.value > 0) {
    done = write_file(memory + (unified_ ? "/memory.max" : "/memory.limit_in_bytes"),
                      std::to_string(limits.memory.value));
    // Swap would only turn a clean kill into slowness. Not every kernel accounts for it.
    if (done && unified_) (void)write_file(memory + "/memory.swap.max", "0");
    if (done && unified_) (void)write_file(memory + "/memory.oom.group", "1");
    if (done && !unified_) {
      (void)write_file(memory + "/memory.memsw.limit_in_bytes",
                       std::to_string(limits.memory.value));
    }
  }
  if (done && limits_pids() && limits.pids > 0) {
    done = write_file(pids + "/pids.max", std::to_string(limits.pids));
  }
  if (done) return made;
  (void)made.remove();
  return tl::unexpected(std::move(done.error()));
}

std::vector<Cgroup> CgroupFactory::leftovers() const {
  std::vector<std::string> names;
  if (limits_memory()) names = folders_in(memory_parent_);
  if (limits_pids() && !unified_) {
    for (std::string& name : folders_in(pids_parent_)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::vector<Cgroup> groups;
  for (const std::string& name : names) groups.push_back(group(name));
  return groups;
}

void CgroupFactory::dissolve() const {
  if (limits_memory()) ::rmdir(memory_parent_.c_str());
  if (limits_pids()) ::rmdir(pids_parent_.c_str());
}

std::optional<Bytes> cgroup_memory_headroom() {
  const CgroupPlaces places = find_cgroup_places();
  const bool version2 = !places.unified.empty();
  std::string folder = version2 ? places.unified : places.memory;
  std::optional<Bytes> least;
  while (folder.size() > std::string_view("/sys/fs/cgroup").size()) {
    const std::optional<std::int64_t> limit =
        limit_in(folder + (version2 ? "/memory.max" : "/memory.limit_in_bytes"));
    const std::optional<std::int64_t> used =
        limit_in(folder + (version2 ? "/memory.current" : "/memory.usage_in_bytes"));
    if (limit && used) {
      // Page cache is given back on demand, so it counts as free.
      const std::string stat = folder + "/memory.stat";
      const std::string scope = version2 ? "" : "total_";  // version 1: with the groups below
      const std::int64_t cache =
          keyed_value(stat, scope + "inactive_file") + keyed_value(stat, scope + "active_file");
      const Bytes left{
          std::max<std::int64_t>(0, *limit - std::max<std::int64_t>(0, *used - cache))};
      least = least ? std::min(*least, left) : left;
    }
    folder.erase(folder.rfind('/'));
  }
  return least;
}

}  // namespace stoker::backend
