#include "backend/process/run_directory.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/fnv1a.h"
#include "base/invariant.h"

namespace stoker::backend {
namespace {

constexpr std::size_t name_bytes = 48;  // "/<instance>-<generation>.sock"
constexpr int backlog = 4096;           // the kernel caps it at net.core.somaxconn

Result<void> make_private_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return tl::unexpected(errno_error("make " + path));
  }
  // In /tmp anybody may have been there first.
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return tl::unexpected(errno_error(path));
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 0077) != 0) {
    return failure(ErrorCode::unavailable,
                   fmt::format("'{}' is not a private folder of this user", path),
                   "remove it or choose a shorter state_dir");
  }
  return {};
}

}  // namespace

std::string state_tag(const std::string& state_dir) {
  return fmt::format("{:016x}", fnv1a(state_dir));
}

Result<std::string> make_run_directory(const std::string& state_dir) {
  std::string folder = state_dir + "/run";
  if (folder.size() + name_bytes >= sizeof(sockaddr_un::sun_path)) {
    folder = fmt::format("/tmp/stoker-{}-{}", ::geteuid(), state_tag(state_dir));
  }
  if (Result<void> made = make_private_folder(folder); !made) {
    return tl::unexpected(std::move(made.error()));
  }
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".sock") std::filesystem::remove(entry.path(), ignored);
  }
  return folder;
}

Result<UniqueFd> listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  STOKER_INVARIANT(path.size() < sizeof(address.sun_path), "{}", path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return tl::unexpected(errno_error("socket"));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd.get(), backlog) != 0) {
    return tl::unexpected(errno_error("listen on " + path));
  }
  return fd;
}

}  // namespace stoker::backend
