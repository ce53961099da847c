#include "ledger/state_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/hex.h"

namespace stoker::ledger {
namespace {

constexpr std::string_view admin_prefix = "sk-stoker-admin-";
constexpr std::string_view webhook_prefix = "webhook-";
constexpr std::size_t key_random_bytes = 20;

/// Gives: nothing if there is no such file.
Result<std::optional<std::string>> read_small_file(const std::filesystem::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return std::nullopt;
  std::string text(4096, '\0');
  const ssize_t got = fd ? ::read(fd.get(), text.data(), text.size()) : -1;
  if (got < 0) return tl::unexpected(errno_error(fmt::format("cannot read {}", path.native())));
  text.resize(static_cast<std::size_t>(got));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Result<void> write_all(FileIo& io, int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = io.write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return tl::unexpected(errno_error("cannot write"));
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

/// Whole or not at all, also over a power cut: beside, sync, rename, sync the directory.
Result<void> replace_file(FileIo& io, const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path beside = path.native() + ".new";
  const auto cannot = [&](const Error& why) {
    return failure(why.code, fmt::format("cannot write {}: {}", path.native(), why.message));
  };
  const UniqueFd fd(io.open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return cannot(errno_error("cannot create"));
  if (Result<void> written = write_all(io, fd.get(), text); !written) {
    return cannot(written.error());
  }
  if (io.fsync(fd.get()) != 0) return cannot(errno_error("cannot sync"));
  if (io.rename(beside.c_str(), path.c_str()) != 0) return cannot(errno_error("cannot rename"));
  return sync_directory(io, path.parent_path());
}

/// True if all in it is a server's, or nothing is in it: then it may be closed to others without
/// taking away from somebody what was never meant for us (state_dir: /tmp).
bool is_for_state_alone(const std::filesystem::path& directory) {
  bool others = false;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("epoch")) return true;
    others = others || name != "lock";
  }
  return !others && !error;
}

/// Gives: its mode, if others may enter and it is to be closed.
/// Errors: invalid: it is another user's, or it is open and holds other things.
Result<std::optional<mode_t>> check_owner(int fd, const std::filesystem::path& directory) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    return tl::unexpected(errno_error(fmt::format("cannot look at {}", directory.native())));
  }
  if (info.st_uid != ::geteuid()) {
    return failure(ErrorCode::invalid,
                   fmt::format("{} belongs to user {}, and this server runs as user {}",
                               directory.native(), info.st_uid, ::geteuid()),
                   "give it to this user (chown), or set another 'state_dir'");
  }
  const mode_t mode = info.st_mode & 07777;
  if ((mode & 077) == 0) return std::nullopt;
  if (is_for_state_alone(directory)) return mode;
  return failure(
      ErrorCode::invalid,
      fmt::format("{} is open to other users (mode {:04o}) and holds other things than a "
                  "server's state",
                  directory.native(), mode),
      fmt::format("set 'state_dir' to a directory of its own, or close this one: chmod 700 {}",
                  directory.native()));
}

/// A server that was killed just now may have left its lock to a process that it was starting,
/// until that one runs its program.   Gives: false with errno; EWOULDBLOCK: somebody keeps it.
bool lock_soon(int fd) {
  constexpr int tries = 50;
  constexpr std::chrono::milliseconds between{10};
  for (int i = 0; i < tries; ++i) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) return false;
    std::this_thread::sleep_for(between);
  }
  errno = EWOULDBLOCK;
  return false;
}

Result<UniqueFd> take_lock(FileIo& io, const std::filesystem::path& path) {
  UniqueFd fd(io.open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return tl::unexpected(errno_error(fmt::format("cannot open {}", path.native())));
  if (!lock_soon(fd.get())) {
    if (errno != EWOULDBLOCK) {
      return tl::unexpected(errno_error(fmt::format("cannot lock {}", path.native())));
    }
    const Result<std::optional<std::string>> holder = read_small_file(path);
    const bool known = holder && *holder && !(*holder)->empty();
    return failure(ErrorCode::in_use,
                   fmt::format("{} is in use by process {}", path.parent_path().native(),
                               known ? **holder : "(unknown)"),
                   "stop that server, or give this one another 'state_dir'");
  }
  // Only people read the pid: the lock itself is the kernel's.
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0) {
    return tl::unexpected(errno_error(fmt::format("cannot write {}", path.native())));
  }
  if (Result<void> written = write_all(io, fd.get(), pid); !written) {
    return tl::unexpected(std::move(written.error()));
  }
  return fd;
}

Result<Epoch> next_epoch(FileIo& io, const std::filesystem::path& path) {
  Result<std::optional<std::string>> text = read_small_file(path);
  if (!text) return tl::unexpected(std::move(text.error()));
  Epoch epoch;
  if (*text) {
    const std::string& digits = **text;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), epoch.value);
    if (error != std::errc{} || end != digits.data() + digits.size()) {
      return failure(ErrorCode::corrupt, fmt::format("{} does not hold a number", path.native()),
                     "write the largest epoch ever used into it, or move 'state_dir' away");
    }
  }
  ++epoch.value;
  if (Result<void> written = replace_file(io, path, fmt::format("{}\n", epoch.value)); !written) {
    return tl::unexpected(std::move(written.error()));
  }
  return epoch;
}

Result<std::string> check_key(const std::filesystem::path& path, std::string_view prefix,
                              std::string key) {
  if (key.starts_with(prefix) && key.size() == prefix.size() + 2 * key_random_bytes) return key;
  return failure(ErrorCode::corrupt, fmt::format("{} does not hold a key", path.native()),
                 "delete the file: the next start of the server makes a new key");
}

/// The key in `path`; a new one if there is no file.
Result<std::string> load_or_make_key(FileIo& io, const std::filesystem::path& path,
                                     std::string_view prefix) {
  Result<std::optional<std::string>> text = read_small_file(path);
  if (!text) return tl::unexpected(std::move(text.error()));
  if (*text) return check_key(path, prefix, std::move(**text));

  std::array<char, key_random_bytes> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return tl::unexpected(errno_error("cannot draw a random key"));
  }
  std::string key = std::string(prefix) + to_hex({random.data(), random.size()});
  if (Result<void> written = replace_file(io, path, key + "\n"); !written) {
    return tl::unexpected(std::move(written.error()));
  }
  return key;
}

std::filesystem::path key_path(const std::filesystem::path& state_dir) {
  return state_dir / "admin.key";
}

}  // namespace

Result<StateDir> StateDir::open(std::filesystem::path directory, FileIo& io) {
  std::error_code error;
  directory = std::filesystem::absolute(directory, error);
  if (!directory.has_filename()) directory = directory.parent_path();  // "state/" is "state"
  if (!error && directory.has_parent_path()) {
    std::filesystem::create_directories(directory.parent_path(), error);
  }
  if (error) {
    return failure(ErrorCode::unavailable,
                   fmt::format("cannot create {}: {}", directory.native(), error.message()));
  }
  if (io.mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return tl::unexpected(errno_error(fmt::format("cannot create {}", directory.native())));
  }
  const UniqueFd folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder)
    return tl::unexpected(errno_error(fmt::format("cannot open {}", directory.native())));
  Result<std::optional<mode_t>> open_to_others = check_owner(folder.get(), directory);
  if (!open_to_others) return tl::unexpected(std::move(open_to_others.error()));
  Result<UniqueFd> lock = take_lock(io, directory / "lock");
  if (!lock) return tl::unexpected(std::move(lock.error()));
  if (*open_to_others && ::fchmod(folder.get(), 0700) != 0) {
    return tl::unexpected(
        errno_error(fmt::format("cannot close {} to others", directory.native())));
  }
  Result<Epoch> epoch = next_epoch(io, directory / "epoch");
  if (!epoch) return tl::unexpected(std::move(epoch.error()));
  StateDir state(std::move(directory), std::move(*lock), *epoch, io);
  state.mode_before_ = *open_to_others;
  return state;
}

Result<std::string> StateDir::admin_key() {
  return load_or_make_key(*io_, key_path(path_), admin_prefix);
}

Result<std::string> StateDir::webhook_key() {
  return load_or_make_key(*io_, path_ / "webhook.key", webhook_prefix);
}

Result<std::string> load_admin_key(const std::filesystem::path& state_dir) {
  const std::filesystem::path path = key_path(state_dir);
  Result<std::optional<std::string>> text = read_small_file(path);
  if (!text) return tl::unexpected(std::move(text.error()));
  if (!*text) {
    return failure(ErrorCode::not_found, fmt::format("there is no {}", path.native()),
                   "start the server once, or set STOKER_API_KEY");
  }
  return check_key(path, admin_prefix, std::move(**text));
}

}  // namespace stoker::ledger
