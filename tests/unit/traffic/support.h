// A disk that can be full, and records of requests.
#pragma once

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "ledger/file_io.h"
#include "ledger/record.h"
#include "support/temp_dir.h"

namespace stoker::traffic {

/// The kernel's, until it is full: then `rest` more bytes can be written, and no file be made.
class Disk final : public ledger::FileIo {
 public:
  bool full = false;
  std::size_t rest = 0;

  int open(const char* path, int flags, mode_t mode) override {
    return full && rest == 0 ? no_room() : real_.open(path, flags, mode);
  }
  int mkdir(const char* path, mode_t mode) override { return real_.mkdir(path, mode); }
  ssize_t write(int fd, const void* bytes, std::size_t size) override {
    if (!full) return real_.write(fd, bytes, size);
    if (rest == 0) return no_room();
    size = std::min(size, rest);
    rest -= size;
    return real_.write(fd, bytes, size);
  }
  int fallocate(int fd, off_t offset, off_t size) override {
    return real_.fallocate(fd, offset, size);
  }
  void* mmap(std::size_t size, int protection, int flags, int fd) override {
    return real_.mmap(size, protection, flags, fd);
  }
  int fdatasync(int fd) override { return real_.fdatasync(fd); }
  int fsync(int fd) override { return real_.fsync(fd); }
  int rename(const char* from, const char* to) override { return real_.rename(from, to); }
  int unlink(const char* path) override { return real_.unlink(path); }

 private:
  static int no_room() {
    errno = ENOSPC;
    return -1;
  }
  ledger::FileIo& real_ = ledger::real_file_io();
};

inline std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace stoker::traffic
