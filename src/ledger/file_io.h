// The system calls by which the journal and the state directory change the disk, behind an
// interface, so that tests can fail each of them once and the Nth of them for ever. Reading is not
// here: a read cannot lose what was promised.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>

#include "base/result.h"

namespace stoker::ledger {

/// Each call is the system call of its name: same arguments, same result, errno set on failure
/// (fallocate: like the others, -1 and errno).   Threads: any.
class FileIo {
 public:
  virtual ~FileIo() = default;
  virtual int open(const char* path, int flags, mode_t mode) = 0;
  virtual int mkdir(const char* path, mode_t mode) = 0;
  virtual ssize_t write(int fd, const void* bytes, std::size_t size) = 0;
  virtual int fallocate(int fd, off_t offset, off_t size) = 0;
  virtual void* mmap(std::size_t size, int protection, int flags, int fd) = 0;
  virtual int fdatasync(int fd) = 0;
  virtual int fsync(int fd) = 0;
  virtual int rename(const char* from, const char* to) = 0;
  virtual int unlink(const char* path) = 0;
};

/// Makes the names in a directory durable.   Errors: unavailable.
[[nodiscard]] Result<void> sync_directory(FileIo& io, const std::filesystem::path& directory);

/// The kernel. Lives as long as the process.
[[nodiscard]] FileIo& real_file_io();

}  // namespace stoker::ledger
