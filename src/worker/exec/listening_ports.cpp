#include "worker/exec/listening_ports.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <system_error>

namespace stoker::worker {
namespace {

namespace fs = std::filesystem;

/// Adds the listening sockets of /proc/net/tcp or tcp6: inode -> port.   Source: proc(5).
void add_listeners(const char* table, std::map<unsigned long, int>& ports) {
  constexpr unsigned listening = 0x0A;
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // headings
  while (std::getline(file, line)) {
    unsigned port = 0;
    unsigned state = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(),
                    " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &port,
                    &state, &inode) == 3 &&
        state == listening) {
      ports.emplace(inode, static_cast<int>(port));
    }
  }
}

}  // namespace

std::vector<int> listening_ports(const std::vector<pid_t>& processes) {
  std::map<unsigned long, int> ports;
  add_listeners("/proc/net/tcp", ports);
  add_listeners("/proc/net/tcp6", ports);
  std::vector<int> found;
  for (const pid_t process : processes) {
    std::error_code error;
    fs::directory_iterator file(fmt::format("/proc/{}/fd", process), error);
    for (; !error && file != fs::directory_iterator(); file.increment(error)) {
      std::error_code ignored;
      const std::string target = fs::read_symlink(file->path(), ignored).string();
      unsigned long inode = 0;
      if (std::sscanf(target.c_str(), "socket:[%lu]", &inode) != 1) continue;
      if (const auto port = ports.find(inode); port != ports.end()) found.push_back(port->second);
    }
  }
  std::ranges::sort(found);
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace stoker::worker
