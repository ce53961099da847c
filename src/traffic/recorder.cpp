#include "traffic/recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <utility>

#include "base/text.h"
#include "sim/workload/open_trace.h"
#include "sim/workload/trace_writer.h"

namespace stoker::traffic {
namespace {

constexpr std::string_view record_key = ",\"sequence\":";

sim::TraceStart start_of(ledger::StartKind kind) {
  switch (kind) {
    case ledger::StartKind::none:
      return sim::TraceStart::none;
    case ledger::StartKind::warm:
      return sim::TraceStart::warm;
    case ledger::StartKind::cold:
      return sim::TraceStart::cold;
    case ledger::StartKind::resumed:
      return sim::TraceStart::resumed;
  }
  return sim::TraceStart::none;
}

void add_ending(const ledger::Usage& usage, sim::TraceRequest& request) {
  request.outcome = sim::outcome_from_text(ledger::to_text(usage.outcome));
  if (usage.usage_known) {
    request.input_tokens = usage.input_tokens;
    request.output_tokens = usage.output_tokens;
  }
  const ledger::Phases& phases = usage.phases;
  if (usage.start != ledger::StartKind::none) request.service = phases.ttft + phases.generate;
  if (usage.outcome == ledger::Outcome::cancelled) request.gone_after = phases.total();
  request.receipt =
      sim::TraceReceipt{start_of(usage.start), usage.instance, phases.queue,  phases.allocate,
                        phases.start,          phases.load,    phases.warmup, phases.ttft};
}

/// The journal's record in the last whole line of a file that a recorder wrote; nullopt if there is
/// none, as in a file that was cut in its first line.
std::optional<std::uint64_t> last_record(const std::filesystem::path& path) {
  constexpr std::streamoff tail = 64 << 10;  // several lines
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return std::nullopt;
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(0, size - tail));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n'));
  const std::size_t at = text.rfind(record_key);
  if (at == std::string::npos) return std::nullopt;
  std::uint64_t record = 0;
  const char* const from = text.data() + at + record_key.size();
  if (std::from_chars(from, text.data() + text.size(), record).ec != std::errc{}) {
    return std::nullopt;
  }
  return record;
}

}  // namespace

Recorder::Recorder(RecorderOptions options, const sim::TraceWorld& world,
                   ledger::Sequence journal_end, Events events, ledger::FileIo& io)
    : options_(std::move(options)), events_(std::move(events)), files_(options_.files, io) {
  sim::TraceWorld known = world;
  if (const auto paths = files_.paths(); !paths.empty()) {
    const auto newest = sim::open_trace(paths.front().string(), {.read_ahead = false});
    if (newest) {
      for (const sim::TraceDeployment& measured : (*newest)->world().deployments) {
        const auto same =
            std::find_if(known.deployments.begin(), known.deployments.end(),
                         [&](const auto& each) { return each.name == measured.name; });
        if (same == known.deployments.end()) continue;
        same->start = measured.start;
        same->load = measured.load;
        same->request = measured.request;
        same->prefill_tokens_per_s = measured.prefill_tokens_per_s;
        same->decode_tokens_per_s = measured.decode_tokens_per_s;
      }
    }
  }
  for (sim::TraceDevice& each : known.devices) names_.add_device(std::move(each));
  for (sim::TraceDeployment& each : known.deployments) names_.add_deployment(std::move(each));
  look_at_old_files(journal_end);
}

Recorder::~Recorder() {
  batch_ended();
}

void Recorder::look_at_old_files(ledger::Sequence journal_end) {
  for (const std::filesystem::path& path : files_.paths()) {
    const std::optional<std::uint64_t> record = last_record(path);
    if (!record) continue;
    if (*record > journal_end.value) return;  // of another journal: nothing there is ours
    written_ = *record;
    goes_on_ = true;
    return;
  }
}

void Recorder::admitted(ledger::Sequence record, const ledger::Admission& admission) {
  // After trouble the ledger tells again what it told before.
  if (record.value <= std::max(written_, last_admitted_)) return;
  last_admitted_ = record.value;
  place_of_.insert(admission.request, held_before_ + held_.size());
  Held& held = held_.emplace_back();
  held.record = record.value;
  held.id = admission.request;
  held.accepted_at = admission.accepted_at;
  held.request.deployment = names_.deployment(admission.deployment, {});
  held.request.tenant = names_.tenant(admission.tenant);
  held.request.route = sim::route_from_text(admission.route);
  held.request.stream = admission.stream;
  held.request.priority = admission.priority;
}

void Recorder::ended(const ledger::Admission& admission, const ledger::Usage& usage,
                     bool stored_before) {
  const std::uint64_t* const place = place_of_.find(admission.request);
  if (place == nullptr) return;
  Held& held = held_[static_cast<std::size_t>(*place - held_before_)];
  place_of_.erase(admission.request);
  held.ended = true;
  held.dropped = stored_before && !goes_on_;  // from before anything was recorded
  if (!held.dropped) add_ending(usage, held.request);
  write_ended();
}

void Recorder::batch_ended() {
  const std::uint64_t lines = lines_count_;
  if (const Result<void> written = flush(); !written) drop(written.error(), lines);
}

void Recorder::write_ended() {
  while (!held_.empty()) {
    Held& oldest = held_.front();
    if (!oldest.ended) {
      if (held_.size() <= options_.most_held) return;
      place_of_.erase(oldest.id);
    }
    if (!oldest.dropped) {
      write(oldest);
      written_ = oldest.record;
    }
    held_.pop_front();
    ++held_before_;
  }
}

void Recorder::write(Held& held) {
  append_public_id(held.request.id, held.id);
  calibration_.observe(names_.world().deployments.at(held.request.deployment).name, held.request);
  constexpr std::size_t longest_line = 1024;
  if (files_.wants_new(lines_.size() + longest_line)) {
    const std::uint64_t lines = lines_count_;
    Result<void> begun = flush();
    if (!begun) drop(begun.error(), lines);
    begun = begin_file(held.accepted_at);
    if (!begun) return drop(begun.error(), 1);
    if (std::exchange(in_trouble_, false)) events_.on_resumed(std::exchange(lost_, 0));
  }
  // A wall clock may be set back; a trace is in the order of arrival.
  const Duration since{held.accepted_at.ns - file_started_at_.ns};
  held.request.at = last_at_ = std::max(last_at_, since);
  sim::append_trace_request(lines_, names_.world(), held.request);
  lines_.resize(lines_.size() - 2);  // "}\n"
  const fmt::format_int digits(held.record);
  lines_.append(record_key).append(digits.data(), digits.size()).append("}\n");
  ++lines_count_;
  if (lines_.size() >= options_.write_size) batch_ended();
}

Result<void> Recorder::begin_file(WallTime at) {
  file_started_at_ = at;
  last_at_ = {};
  sim::TraceWorld world = names_.world();
  world.started_at = at;
  for (sim::TraceDeployment& each : world.deployments) calibration_.apply(each);
  std::string head;
  sim::append_trace_head(head, world);
  return files_.begin(head);
}

Result<void> Recorder::flush() {
  if (lines_.empty()) return {};
  const Result<void> written = files_.append(lines_);
  lines_.clear();
  lines_count_ = 0;
  return written;
}

void Recorder::drop(const Error& why, std::uint64_t lines) {
  lost_ += lines;
  if (!std::exchange(in_trouble_, true)) events_.on_trouble(why);
}

}  // namespace stoker::traffic
