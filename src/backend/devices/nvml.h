// A reader of NVIDIA's management library, loaded at run time: the same binary runs with and
// without a GPU. Only the seven functions that we need are declared, after NVML's public API.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace stoker::backend {

struct NvmlDevice {
  std::int32_t index = 0;
  std::string name;
  std::string uuid;
  Bytes total;
};
struct NvmlUse {
  Bytes used;
  std::int32_t busy_percent = 0;  // of the last sample period
};

/// Threads: one at a time. Every call may block for milliseconds in the driver.
class NvmlReader {
 public:
  /// Errors: not_found (no such library), unavailable (it is there but does not work: no driver,
  /// symbol missing), with NVML's own words.
  static Result<std::unique_ptr<NvmlReader>> open(const std::string& library = "libnvidia-ml.so.1");
  ~NvmlReader();
  NvmlReader(const NvmlReader&) = delete;
  NvmlReader& operator=(const NvmlReader&) = delete;

  [[nodiscard]] const std::vector<NvmlDevice>& devices() const;
  [[nodiscard]] const std::string& driver_version() const;
  [[nodiscard]] Result<NvmlUse> use_of(std::int32_t index) const;
  /// Sum of what the given processes hold on the device.
  /// Errors: unavailable where the driver does not say (some virtual machines, MIG).
  [[nodiscard]] Result<Bytes> memory_of(std::int32_t index, std::span<const pid_t> pids) const;

 private:
  struct Impl;
  explicit NvmlReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::backend
