#include "orchestrator/footprints.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

#include "base/crc32c.h"
#include "base/fnv1a.h"
#include "base/json_writer.h"
#include "base/unique_fd.h"

namespace stoker::orchestrator {
namespace {

// One line an entry: CRC-32C of the rest, then deployment, key, kind, private and shared bytes.
constexpr std::size_t entries_kept = 1024;
constexpr std::size_t file_limit_bytes = 1 << 20;
constexpr std::size_t fields_of_line = 6;
constexpr std::int64_t most_bytes = std::int64_t{1} << 50;  // so that no sum overflows

struct KindName {
  core::DeviceKind core;
  backend::DeviceKind backend;
  std::string_view text;
};
constexpr std::array kind_names{
    KindName{core::DeviceKind::cpu, backend::DeviceKind::cpu, "cpu"},
    KindName{core::DeviceKind::cuda, backend::DeviceKind::cuda, "cuda"},
    KindName{core::DeviceKind::fake, backend::DeviceKind::fake, "fake"},
};

std::string checksum_of(std::string_view text) {
  return fmt::format("{:08x}", crc32c(text.data(), text.size()));
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// Gives: what could be read; nothing of a file that is too large to be ours.
std::string read_file(const std::filesystem::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string text;
  std::array<char, 4096> buffer{};
  while (fd && text.size() <= file_limit_bytes) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return {};
}

Result<void> replace_file(const std::filesystem::path& path, const std::string& text) {
  const std::string beside = path.string() + ".new";
  const auto cannot = [&](Error why) {
    ::unlink(beside.c_str());
    return Result<void>(tl::unexpected(std::move(why)));
  };
  const UniqueFd fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return cannot(errno_error("cannot create " + beside));
  const ssize_t written = ::write(fd.get(), text.data(), text.size());
  if (written < 0) return cannot(errno_error("cannot write " + beside));
  if (static_cast<std::size_t>(written) != text.size()) {
    return cannot({ErrorCode::no_capacity, "there was no room for all of " + beside, {}});
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    return cannot(errno_error("cannot rename " + beside));
  }
  return {};
}

bool same(const core::MemoryNeed& a, const core::MemoryNeed& b) {
  return a.private_bytes == b.private_bytes && a.shared_bytes == b.shared_bytes;
}

}  // namespace

std::string footprint_key(const DeploymentPlan& plan) {
  struct stat file{};
  if (plan.launch.model.empty() || ::stat(plan.launch.model.c_str(), &file) != 0) file = {};
  JsonWriter json;
  json.object([&] {
    json.field("deployment", plan.spec.name);
    json.field("worker", plan.launch.worker);
    json.field("model", plan.launch.model);
    json.field("size", file.st_size);
    json.field("changed_s", file.st_mtim.tv_sec);
    json.field("changed_ns", file.st_mtim.tv_nsec);
    json.field("options", plan.launch.options);
    json.field("concurrency", plan.spec.scale.concurrency);
    if (plan.spec.needs.devices > 1) json.field("devices", plan.spec.needs.devices);
    json.object("env", [&] {
      for (const auto& [name, value] : plan.launch.env) json.field(name, value);
    });
  });
  return fmt::format("{:016x}", fnv1a(json.text()));
}

Footprints::Footprints(std::filesystem::path file) : file_(std::move(file)) {
  const std::string text = read_file(file_);
  for (const std::string_view line : split(text, '\n')) {
    if (line.empty()) continue;
    Entry entry;
    if (parse(line, entry) && entries_.size() < entries_kept) {
      entries_.push_back(std::move(entry));
    } else {
      ++damaged_lines_;
    }
  }
}

bool Footprints::parse(std::string_view line, Entry& entry) {
  const std::vector<std::string_view> fields = split(line, ' ');
  if (fields.size() != fields_of_line) return false;
  const std::string_view rest = line.substr(fields[0].size() + 1);
  if (fields[0] != checksum_of(rest)) return false;
  const auto kind = std::find_if(kind_names.begin(), kind_names.end(),
                                 [&](const KindName& one) { return one.text == fields[3]; });
  const std::optional private_bytes = number(fields[4]);
  const std::optional shared_bytes = number(fields[5]);
  if (kind == kind_names.end() || !private_bytes || !shared_bytes) return false;
  for (const std::int64_t bytes : {*private_bytes, *shared_bytes}) {
    if (bytes < 0 || bytes > most_bytes) return false;
  }
  entry = {std::string(fields[1]),
           std::string(fields[2]),
           kind->core,
           {Bytes{*private_bytes}, Bytes{*shared_bytes}}};
  return true;
}

Footprints::PerKind Footprints::recall(const std::string& key,
                                       std::span<const backend::Device> devices) const {
  const auto some_device_holds = [&](const Entry& entry) {
    return std::any_of(devices.begin(), devices.end(), [&](const backend::Device& device) {
      return std::any_of(kind_names.begin(), kind_names.end(), [&](const KindName& one) {
        return one.core == entry.kind && one.backend == device.kind &&
               entry.measured.private_bytes + entry.measured.shared_bytes <= device.memory;
      });
    });
  };
  const std::lock_guard lock(mutex_);
  PerKind found;
  for (const Entry& entry : entries_) {
    if (entry.key == key && some_device_holds(entry)) found[entry.kind] = entry.measured;
  }
  return found;
}

Result<void> Footprints::keep(const DeploymentPlan& plan, core::DeviceKind kind,
                              const core::MemoryNeed& measured) {
  const std::lock_guard lock(mutex_);
  const std::string& name = plan.spec.name;
  for (const Entry& entry : entries_) {
    if (entry.key == plan.footprint_key && entry.kind == kind && same(entry.measured, measured) &&
        written_) {
      return {};
    }
  }
  std::erase_if(entries_, [&](const Entry& entry) {
    return entry.deployment == name && (entry.key != plan.footprint_key || entry.kind == kind);
  });
  if (entries_.size() == entries_kept) entries_.erase(entries_.begin());
  entries_.push_back({name, plan.footprint_key, kind, measured});
  const Result<void> replaced = replace_file(file_, text());
  written_ = replaced.has_value();
  return replaced;
}

std::string Footprints::text() const {
  std::string all;
  for (const Entry& entry : entries_) {
    const auto kind = std::find_if(kind_names.begin(), kind_names.end(),
                                   [&](const KindName& one) { return one.core == entry.kind; });
    const std::string rest =
        fmt::format("{} {} {} {} {}", entry.deployment, entry.key, kind->text,
                    entry.measured.private_bytes.value, entry.measured.shared_bytes.value);
    all += fmt::format("{} {}\n", checksum_of(rest), rest);
  }
  return all;
}

}  // namespace stoker::orchestrator
