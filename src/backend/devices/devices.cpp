#include "backend/devices/devices.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "backend/devices/nvml.h"
#include "backend/process/cgroup.h"
#include "backend/process/proc_fs.h"
#include "base/text.h"

namespace stoker::backend {
namespace {

constexpr std::array kind_texts{"cpu", "cuda", "fake"};
constexpr Bytes default_fake_memory = gib(16);

/// Text after "KEY", white space and ':' in the first line that begins with it; "" if none.
std::string_view value_after(std::string_view text, std::string_view key) {
  std::size_t at = text.starts_with(key) ? 0 : text.find(fmt::format("\n{}", key));
  if (at == std::string_view::npos) return {};
  at = text.find(':', at);
  const std::size_t end = text.find('\n', at);
  if (at == std::string_view::npos) return {};
  std::string_view value = text.substr(at + 1, end - at - 1);
  value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
  return value;
}

Bytes memory_available() {
  const std::string text = read_small_file("/proc/meminfo").value_or("");
  const std::string_view value = value_after(text, "MemAvailable");
  std::int64_t kibibytes = 0;
  std::from_chars(value.data(), value.data() + value.size(), kibibytes);
  return kib(kibibytes);
}

std::int32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

Device probe_cpu() {
  const std::string text = read_small_file("/proc/cpuinfo").value_or("");
  return {.id = "cpu0",
          .kind = DeviceKind::cpu,
          .memory = default_cpu_memory(),
          .slots = 0,
          .model = std::string(value_after(text, "model name")),
          .cores = usable_cores(),
          .uuid = {},
          .index = 0};
}

Device cuda_device(const NvmlDevice& found) {
  return {.id = fmt::format("cuda{}", found.index),
          .kind = DeviceKind::cuda,
          .memory = found.total,
          .slots = 0,
          .model = found.name,
          .cores = 0,
          .uuid = found.uuid,
          .index = found.index};
}

/// What is there of the kind that is asked for.
struct Inventory {
  Device cpu;
  std::vector<Device> cuda;
  std::string cuda_state;
};

Inventory take_inventory(const std::string& nvml_library) {
  Inventory inventory{.cpu = probe_cpu(), .cuda = {}, .cuda_state = {}};
  const Result<std::unique_ptr<NvmlReader>> nvml = NvmlReader::open(nvml_library);
  if (!nvml) {
    inventory.cuda_state = nvml.error().message;
    return inventory;
  }
  for (const NvmlDevice& device : (*nvml)->devices()) inventory.cuda.push_back(cuda_device(device));
  inventory.cuda_state =
      fmt::format("{} {}, driver {}", inventory.cuda.size(),
                  inventory.cuda.size() == 1 ? "device" : "devices", (*nvml)->driver_version());
  return inventory;
}

Result<Device> find_device(const DeviceRequest& request, const Inventory& inventory,
                           const std::vector<Device>& taken) {
  if (request.kind == DeviceKind::cpu) return inventory.cpu;
  const auto is_free = [&](std::int32_t index) {
    return std::none_of(taken.begin(), taken.end(), [&](const Device& device) {
      return device.kind == request.kind && device.index == index;
    });
  };
  if (request.kind == DeviceKind::fake) {
    const auto index = static_cast<std::int32_t>(taken.size());
    return Device{.id = fmt::format("fake{}", index),
                  .kind = DeviceKind::fake,
                  .memory = default_fake_memory,
                  .slots = 0,
                  .model = "fake",
                  .cores = 0,
                  .uuid = {},
                  .index = index};
  }
  for (const Device& device : inventory.cuda) {
    if (request.index ? device.index == *request.index : is_free(device.index)) return device;
  }
  return failure(
      ErrorCode::not_found,
      fmt::format("device '{}': no such cuda device ({})", request.id, inventory.cuda_state),
      "run `stoker doctor`, or use `devices: auto`");
}

}  // namespace

const char* to_text(DeviceKind kind) {
  return kind_texts[static_cast<std::size_t>(kind)];
}

std::optional<DeviceKind> parse_device_kind(std::string_view text) {
  const auto found = std::find(kind_texts.begin(), kind_texts.end(), text);
  if (found == kind_texts.end()) return std::nullopt;
  return static_cast<DeviceKind>(found - kind_texts.begin());
}

Bytes default_cpu_memory() {
  Bytes available = memory_available();
  if (const std::optional<Bytes> allowed = cgroup_memory_headroom()) {
    available = std::min(available, *allowed);
  }
  return {available.value / 5 * 4};
}

Result<DeviceProbe> probe_devices(const ProbeOptions& options) {
  Inventory inventory = take_inventory(options.nvml_library);
  DeviceProbe probe{.devices = {}, .cuda_state = inventory.cuda_state};
  if (options.requests.empty()) {
    probe.devices = inventory.cuda;
    if (probe.devices.empty()) probe.devices.push_back(inventory.cpu);
    return probe;
  }
  for (const DeviceRequest& request : options.requests) {
    Result<Device> device = find_device(request, inventory, probe.devices);
    if (!device) return tl::unexpected(std::move(device.error()));
    if (!request.id.empty()) device->id = request.id;
    if (request.slots > 0) device->slots = request.slots;
    device->price_per_hour = request.price_per_hour;
    device->labels = request.labels;
    if (request.memory.value > 0) {
      // On a cpu it may be more than is free just now; on a GPU it can only be a part.
      if (request.kind == DeviceKind::cuda && request.memory > device->memory) {
        return failure(ErrorCode::invalid,
                       fmt::format("device '{}': {} of memory asked for, it has {}", device->id,
                                   to_text(request.memory), to_text(device->memory)));
      }
      device->memory = request.memory;
    }
    for (const Device& other : probe.devices) {
      if (other.id == device->id) {
        return failure(ErrorCode::invalid, fmt::format("two devices are called '{}'", other.id));
      }
    }
    probe.devices.push_back(std::move(*device));
  }
  return probe;
}

}  // namespace stoker::backend
