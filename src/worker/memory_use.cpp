#include "worker/memory_use.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace stoker::worker {
namespace {

/// A mapping is of a weights file when inode and device match, or the path does: on overlayfs the
/// kernel shows the device of the layer below.
struct MappedFile {
  dev_t device = 0;
  ino_t inode = 0;
  std::string path;
  bool operator==(const MappedFile& other) const {
    if (inode == 0 || inode != other.inode) return false;
    return device == other.device || path == other.path;
  }
};

std::vector<MappedFile> identify(std::span<const std::string> files) {
  std::vector<MappedFile> mapped;
  for (const std::string& file : files) {
    struct stat status{};
    if (::stat(file.c_str(), &status) != 0) continue;
    std::error_code ignored;
    mapped.push_back(
        {status.st_dev, status.st_ino, std::filesystem::canonical(file, ignored).string()});
  }
  return mapped;
}

/// "7f12a000-7f12b000 r--p 00000000 08:01 131 /path": the file behind a mapping, nullopt for a line
/// that is no head. Anonymous mappings have inode 0.
std::optional<MappedFile> mapping_head(const std::string& line) {
  unsigned major = 0;
  unsigned minor = 0;
  std::uint64_t inode = 0;
  int end = 0;
  if (std::sscanf(line.c_str(), "%*x-%*x %*4s %*x %x:%x %" SCNu64 " %n", &major, &minor, &inode,
                  &end) != 3) {
    return std::nullopt;
  }
  return MappedFile{::makedev(major, minor), static_cast<ino_t>(inode),
                    line.substr(static_cast<std::size_t>(end))};
}

/// "Private_Dirty:       12 kB"
bool read_kib(const std::string& line, std::string_view key, std::int64_t& kib_sum) {
  if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') return false;
  std::int64_t value = 0;
  if (std::sscanf(line.c_str() + key.size() + 1, "%" SCNd64, &value) == 1) kib_sum += value;
  return true;
}

struct ProcessUse {
  std::int64_t private_kib = 0;
  std::vector<std::int64_t> shared_kib;  // as the weights
};

ProcessUse measure_process(pid_t pid, const std::vector<MappedFile>& weights) {
  ProcessUse use{0, std::vector<std::int64_t>(weights.size(), 0)};
  std::ifstream smaps(fmt::format("/proc/{}/smaps", pid));
  std::int64_t* shared = nullptr;  // of the mapping that the lines belong to; null: not weights
  for (std::string line; std::getline(smaps, line);) {
    if (const std::optional<MappedFile> file = mapping_head(line)) {
      const auto found = std::find(weights.begin(), weights.end(), *file);
      shared = found == weights.end()
                   ? nullptr
                   : &use.shared_kib[static_cast<std::size_t>(found - weights.begin())];
    } else if (shared != nullptr) {
      std::int64_t anonymous = 0;
      if (read_kib(line, "Rss", *shared) || !read_kib(line, "Anonymous", anonymous)) continue;
      *shared -= anonymous;
      use.private_kib += anonymous;
    } else {
      static_cast<void>(read_kib(line, "Private_Clean", use.private_kib) ||
                        read_kib(line, "Private_Dirty", use.private_kib) ||
                        read_kib(line, "Private_Hugetlb", use.private_kib));
    }
  }
  return use;
}

}  // namespace

MemoryUse measure_memory(std::span<const pid_t> processes, std::span<const std::string> weights) {
  const std::vector<MappedFile> files = identify(weights);
  std::vector<std::int64_t> shared_kib(files.size(), 0);
  MemoryUse total;
  for (const pid_t pid : processes) {
    const ProcessUse use = measure_process(pid, files);
    total.private_bytes += kib(use.private_kib);
    for (std::size_t i = 0; i < files.size(); ++i) {
      shared_kib[i] = std::max(shared_kib[i], use.shared_kib[i]);
    }
  }
  for (const std::int64_t one : shared_kib) total.shared_bytes += kib(one);
  return total;
}

}  // namespace stoker::worker
