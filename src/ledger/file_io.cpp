#include "ledger/file_io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"

namespace stoker::ledger {
namespace {

class RealFileIo final : public FileIo {
 public:
  int open(const char* path, int flags, mode_t mode) override { return ::open(path, flags, mode); }
  int mkdir(const char* path, mode_t mode) override { return ::mkdir(path, mode); }
  ssize_t write(int fd, const void* bytes, std::size_t size) override {
    return ::write(fd, bytes, size);
  }
  int fallocate(int fd, off_t offset, off_t size) override {
    // posix_fallocate gives the error and leaves errno alone.
    const int error = ::posix_fallocate(fd, offset, size);
    if (error == 0) return 0;
    errno = error;
    return -1;
  }
  void* mmap(std::size_t size, int protection, int flags, int fd) override {
    return ::mmap(nullptr, size, protection, flags, fd, 0);
  }
  int fdatasync(int fd) override { return ::fdatasync(fd); }
  int fsync(int fd) override { return ::fsync(fd); }
  int rename(const char* from, const char* to) override { return ::rename(from, to); }
  int unlink(const char* path) override { return ::unlink(path); }
};

}  // namespace

Result<void> sync_directory(FileIo& io, const std::filesystem::path& directory) {
  const UniqueFd fd(io.open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  if (fd && io.fsync(fd.get()) == 0) return {};
  return tl::unexpected(errno_error(fmt::format("cannot sync {}", directory.native())));
}

FileIo& real_file_io() {
  static RealFileIo io;
  return io;
}

}  // namespace stoker::ledger
