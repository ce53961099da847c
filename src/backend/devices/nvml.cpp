#include "backend/devices/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace stoker::backend {
namespace {

// The part of NVML's binary interface that we use. Source: NVML API reference, versions 11 and 12;
// these functions and structures have not changed in them.
using NvmlStatus = int;
using NvmlHandle = void*;
constexpr NvmlStatus nvml_success = 0;
constexpr NvmlStatus nvml_insufficient_size = 7;
constexpr unsigned long long value_not_available = ~0ULL;
constexpr std::size_t text_bytes = 96;

struct NvmlMemory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};
struct NvmlUtilization {
  unsigned int gpu;
  unsigned int memory;
};
struct NvmlProcess {
  unsigned int pid;
  unsigned long long used_bytes;
  unsigned int gpu_instance;
  unsigned int compute_instance;
};

struct Functions {
  NvmlStatus (*init)();
  NvmlStatus (*shutdown)();
  const char* (*error_text)(NvmlStatus);
  NvmlStatus (*driver_version)(char*, unsigned int);
  NvmlStatus (*count)(unsigned int*);
  NvmlStatus (*handle)(unsigned int, NvmlHandle*);
  NvmlStatus (*name)(NvmlHandle, char*, unsigned int);
  NvmlStatus (*uuid)(NvmlHandle, char*, unsigned int);
  NvmlStatus (*memory)(NvmlHandle, NvmlMemory*);
  NvmlStatus (*utilization)(NvmlHandle, NvmlUtilization*);
  NvmlStatus (*processes)(NvmlHandle, unsigned int*, NvmlProcess*);
};

class Library {
 public:
  static Result<Library> open(const std::string& path) {
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      return failure(ErrorCode::not_found, fmt::format("no NVIDIA driver: {}", ::dlerror()));
    }
    Library library(handle);
    Functions& f = library.functions_;
    const bool complete = library.find(f.init, {"nvmlInit_v2"}) &&
                          library.find(f.shutdown, {"nvmlShutdown"}) &&
                          library.find(f.error_text, {"nvmlErrorString"}) &&
                          library.find(f.driver_version, {"nvmlSystemGetDriverVersion"}) &&
                          library.find(f.count, {"nvmlDeviceGetCount_v2"}) &&
                          library.find(f.handle, {"nvmlDeviceGetHandleByIndex_v2"}) &&
                          library.find(f.name, {"nvmlDeviceGetName"}) &&
                          library.find(f.uuid, {"nvmlDeviceGetUUID"}) &&
                          library.find(f.memory, {"nvmlDeviceGetMemoryInfo"}) &&
                          library.find(f.utilization, {"nvmlDeviceGetUtilizationRates"}) &&
                          // Both versions fill the same structure.
                          library.find(f.processes, {"nvmlDeviceGetComputeRunningProcesses_v3",
                                                     "nvmlDeviceGetComputeRunningProcesses_v2"});
    if (!complete) {
      return failure(ErrorCode::unavailable, fmt::format("'{}' lacks a function we need", path),
                     "install a driver of version 470 or later");
    }
    return library;
  }
  Library(Library&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), functions_(other.functions_) {}
  Library& operator=(Library&&) = delete;
  ~Library() {
    if (handle_ != nullptr) ::dlclose(handle_);
  }
  [[nodiscard]] const Functions& call() const { return functions_; }

 private:
  explicit Library(void* handle) : handle_(handle) {}
  template <class Function>
  bool find(Function& function, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      function = reinterpret_cast<Function>(::dlsym(handle_, name));
      if (function != nullptr) return true;
    }
    return false;
  }

  void* handle_;
  Functions functions_{};
};

}  // namespace

struct NvmlReader::Impl {
  explicit Impl(Library opened) : library(std::move(opened)) {}
  ~Impl() {
    if (initialised) library.call().shutdown();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] Result<void> check(NvmlStatus status, std::string_view what) const {
    if (status == nvml_success) return {};
    return failure(ErrorCode::unavailable,
                   fmt::format("NVML {}: {}", what, library.call().error_text(status)));
  }
  [[nodiscard]] Result<void> read_devices();

  Library library;
  bool initialised = false;
  std::string driver;
  std::vector<NvmlDevice> devices;
  std::vector<NvmlHandle> handles;  // beside devices
};

Result<void> NvmlReader::Impl::read_devices() {
  const Functions& call = library.call();
  std::array<char, text_bytes> text{};
  Result<void> done = check(call.init(), "init");
  initialised = done.has_value();
  unsigned int count = 0;
  if (done) done = check(call.driver_version(text.data(), text_bytes), "driver version");
  if (done) driver = text.data();
  if (done) done = check(call.count(&count), "count");
  for (unsigned int i = 0; done && i < count; ++i) {
    NvmlHandle handle = nullptr;
    NvmlMemory memory{};
    NvmlDevice device{.index = static_cast<std::int32_t>(i), .name = {}, .uuid = {}, .total = {}};
    done = check(call.handle(i, &handle), "handle");
    if (done) done = check(call.name(handle, text.data(), text_bytes), "name");
    if (done) device.name = text.data();
    if (done) done = check(call.uuid(handle, text.data(), text_bytes), "uuid");
    if (done) device.uuid = text.data();
    if (done) done = check(call.memory(handle, &memory), "memory");
    device.total = {static_cast<std::int64_t>(memory.total)};
    devices.push_back(std::move(device));
    handles.push_back(handle);
  }
  return done;
}

NvmlReader::NvmlReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NvmlReader::~NvmlReader() = default;

Result<std::unique_ptr<NvmlReader>> NvmlReader::open(const std::string& library) {
  Result<Library> opened = Library::open(library);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  auto impl = std::make_unique<Impl>(std::move(*opened));
  if (Result<void> read = impl->read_devices(); !read) {
    return tl::unexpected(std::move(read.error()));
  }
  return std::unique_ptr<NvmlReader>(new NvmlReader(std::move(impl)));
}

const std::vector<NvmlDevice>& NvmlReader::devices() const {
  return impl_->devices;
}
const std::string& NvmlReader::driver_version() const {
  return impl_->driver;
}

Result<NvmlUse> NvmlReader::use_of(std::int32_t index) const {
  const NvmlHandle handle = impl_->handles.at(static_cast<std::size_t>(index));
  NvmlMemory memory{};
  if (Result<void> read = impl_->check(impl_->library.call().memory(handle, &memory), "memory");
      !read) {
    return tl::unexpected(std::move(read.error()));
  }
  // Not every device can say how busy it is (MIG cannot); its memory still counts.
  NvmlUtilization utilization{};
  (void)impl_->library.call().utilization(handle, &utilization);
  return NvmlUse{.used = {static_cast<std::int64_t>(memory.used)},
                 .busy_percent = static_cast<std::int32_t>(utilization.gpu)};
}

Result<Bytes> NvmlReader::memory_of(std::int32_t index, std::span<const pid_t> pids) const {
  const NvmlHandle handle = impl_->handles.at(static_cast<std::size_t>(index));
  std::vector<NvmlProcess> processes(64);
  unsigned int count = 0;
  NvmlStatus status = nvml_insufficient_size;
  // More may start between the question and the answer, so ask again with room to spare.
  for (int tries = 0; tries < 4 && status == nvml_insufficient_size; ++tries) {
    if (count > processes.size()) processes.resize(count + 16);
    count = static_cast<unsigned int>(processes.size());
    status = impl_->library.call().processes(handle, &count, processes.data());
  }
  if (Result<void> read = impl_->check(status, "processes"); !read) {
    return tl::unexpected(std::move(read.error()));
  }
  processes.resize(std::min<std::size_t>(count, processes.size()));
  Bytes sum;
  for (const NvmlProcess& process : processes) {
    if (std::find(pids.begin(), pids.end(), static_cast<pid_t>(process.pid)) == pids.end())
      continue;
    if (process.used_bytes == value_not_available) {
      return failure(ErrorCode::unavailable, "the driver does not tell the memory of processes");
    }
    sum += Bytes{static_cast<std::int64_t>(process.used_bytes)};
  }
  return sum;
}

}  // namespace stoker::backend
