// A model file mapped for the time of a load. Reading it here, piece by piece, is what lets a load
// say how far it is: ONNX Runtime itself tells nothing. Its pages are shared with the page cache.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "worker/runtime.h"

namespace stoker::worker::onnx {

class ModelFile {
 public:
  /// Errors: model_missing, if there is no readable regular file; model_broken, if it is empty.
  static tl::expected<ModelFile, LoadError> open(const std::string& path);
  ModelFile(ModelFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  ModelFile& operator=(ModelFile&&) = delete;
  ~ModelFile();

  /// Brings the whole file into memory, reporting the fraction of it that is there; ends early once
  /// the load is stopped.  Cost: the time of the disk, 2-5 GB/s from the page cache.
  void read_ahead(LoadProgress& progress) const;
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit ModelFile(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

}  // namespace stoker::worker::onnx
