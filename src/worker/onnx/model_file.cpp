#include "worker/onnx/model_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace stoker::worker::onnx {
namespace {

constexpr std::size_t piece_bytes = 16 << 20;

/// Faults the pages of `piece` in, in one call where the kernel can (Linux 5.14).
void populate(std::span<std::byte> piece) {
  if (::madvise(piece.data(), piece.size(), MADV_POPULATE_READ) == 0) return;
  constexpr std::size_t page_bytes = 4096;
  for (std::size_t at = 0; at < piece.size(); at += page_bytes) {
    static_cast<void>(*static_cast<volatile std::byte*>(&piece[at]));
  }
}

}  // namespace

tl::expected<ModelFile, LoadError> ModelFile::open(const std::string& path) {
  const auto missing = [&](const char* why) {
    return load_failure(LoadFailure::model_missing, fmt::format("cannot read '{}': {}", path, why));
  };
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return missing(std::strerror(errno));
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return missing(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return missing("not a regular file");
  if (info.st_size == 0) {
    return load_failure(LoadFailure::model_broken, fmt::format("'{}' is empty", path));
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (start == MAP_FAILED) {
    const auto code = errno == ENOMEM ? LoadFailure::out_of_memory : LoadFailure::model_missing;
    return load_failure(code, fmt::format("cannot map '{}': {}", path, std::strerror(errno)));
  }
  return ModelFile({static_cast<std::byte*>(start), size});
}

ModelFile::~ModelFile() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

void ModelFile::read_ahead(LoadProgress& progress) const {
  std::size_t done = 0;
  while (done < bytes_.size() && !progress.stopped()) {
    const std::size_t size = std::min(piece_bytes, bytes_.size() - done);
    populate(bytes_.subspan(done, size));
    done += size;
    progress.advance(static_cast<double>(done) / static_cast<double>(bytes_.size()));
  }
}

}  // namespace stoker::worker::onnx
