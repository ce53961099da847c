#include "ledger/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/invariant.h"

namespace stoker::ledger {
namespace {

class Writer {
 public:
  Writer(Payload& out, RecordType type) : out_(out) {
    out_.type = type;
    out_.size = 0;
  }

  void number(std::uint64_t value) {
    while (value >= 0x80) {
      byte(static_cast<std::uint8_t>(value | 0x80));
      value >>= 7;
    }
    byte(static_cast<std::uint8_t>(value));
  }
  void number(std::int64_t value) {  // zigzag: small magnitudes stay short
    const auto bits = static_cast<std::uint64_t>(value);
    number((bits << 1) ^ (value < 0 ? ~std::uint64_t{0} : 0));
  }
  void name(std::string_view text) {
    if (text.size() > max_name_bytes) {
      if (too_long_.empty()) too_long_ = text;
      return;
    }
    put_text(text);
  }
  void note(std::string_view text) { put_text(text.substr(0, max_note_bytes)); }

  [[nodiscard]] Result<void> check() const {
    if (too_long_.empty()) return {};
    return failure(ErrorCode::invalid,
                   fmt::format("the name '{}...' has {} bytes, the most is {}",
                               too_long_.substr(0, 32), too_long_.size(), max_name_bytes));
  }

 private:
  void byte(std::uint8_t value) { out_.bytes[out_.size++] = std::byte{value}; }
  void put_text(std::string_view text) {
    number(std::uint64_t{text.size()});
    if (!text.empty()) std::memcpy(&out_.bytes[out_.size], text.data(), text.size());
    out_.size += text.size();
  }

  Payload& out_;
  std::string_view too_long_;
};

/// Reads like Writer writes; after the first misfit everything reads as 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in) {}

  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ >= in_.size()) return misfit();
      const auto b = std::to_integer<std::uint64_t>(in_[at_++]);
      if (shift == 63 && b > 1) return misfit();
      value |= (b & 0x7f) << shift;
      if ((b & 0x80) == 0) return value;
    }
    return misfit();
  }
  std::int64_t signed_number() {
    const std::uint64_t bits = number();
    return static_cast<std::int64_t>((bits >> 1) ^ (~(bits & 1) + 1));
  }
  std::int32_t small_number() {
    const std::int64_t value = signed_number();
    if (value < INT32_MIN || value > INT32_MAX) return static_cast<std::int32_t>(misfit());
    return static_cast<std::int32_t>(value);
  }
  bool flag() { return choice(1) == 1; }
  std::uint8_t choice(std::uint8_t largest) {
    const std::uint64_t value = number();
    return static_cast<std::uint8_t>(value <= largest ? value : misfit());
  }
  void text(std::string& out) {
    std::uint64_t size = number();
    if (size > in_.size() - at_) size = misfit();
    out.assign(reinterpret_cast<const char*>(in_.data() + at_), size);
    at_ += size;
  }
  [[nodiscard]] bool read_all() const { return ok_ && at_ == in_.size(); }

 private:
  std::uint64_t misfit() {
    ok_ = false;
    at_ = in_.size();
    return 0;
  }

  std::span<const std::byte> in_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

void read(Reader& in, ServerStart& r) {
  r.epoch.value = in.number();
  r.at.ns = in.signed_number();
  in.text(r.config_fingerprint);
}

void read(Reader& in, Admission& r, std::uint8_t version) {
  r.request.value = in.number();
  r.accepted_at.ns = in.signed_number();
  in.text(r.deployment);
  in.text(r.tenant);
  if (version >= 2) {
    in.text(r.key);
  } else {
    r.key.clear();
  }
  in.text(r.route);
  r.stream = in.flag();
  r.priority = in.small_number();
  r.prices.per_request.value = in.signed_number();
  r.prices.per_device_second.value = in.signed_number();
  r.prices.per_1k_input_tokens.value = in.signed_number();
  r.prices.per_1k_output_tokens.value = in.signed_number();
}

void read(Reader& in, Usage& r) {
  r.request.value = in.number();
  r.ended_at.ns = in.signed_number();
  r.outcome = static_cast<Outcome>(in.choice(static_cast<std::uint8_t>(Outcome::interrupted)));
  r.status = in.small_number();
  in.text(r.reason);
  r.start = static_cast<StartKind>(in.choice(static_cast<std::uint8_t>(StartKind::resumed)));
  in.text(r.instance);
  in.text(r.device);
  for (Duration* phase : {&r.phases.queue, &r.phases.allocate, &r.phases.start, &r.phases.load,
                          &r.phases.warmup, &r.phases.ttft, &r.phases.generate}) {
    phase->ns = in.signed_number();
  }
  r.input_tokens = in.signed_number();
  r.output_tokens = in.signed_number();
  r.cached_tokens = in.signed_number();
  r.usage_known = in.flag();
  r.device_ms = in.signed_number();
}

void read(Reader& in, InstanceStart& r) {
  r.instance.value = in.number();
  r.generation.value = in.number();
  r.epoch.value = in.number();
  r.at.ns = in.signed_number();
  in.text(r.deployment);
  in.text(r.device);
  in.text(r.nonce);
}

void read(Reader& in, InstanceEnd& r) {
  r.instance.value = in.number();
  r.generation.value = in.number();
  r.epoch.value = in.number();
  r.at.ns = in.signed_number();
  in.text(r.how);
}

void read(Reader& in, Dispatch& r) {
  r.request.value = in.number();
}

template <class T>
T& room_for(Record& out) {
  T* const same = std::get_if<T>(&out);
  return same != nullptr ? *same : out.emplace<T>();
}

}  // namespace

Result<void> encode(const ServerStart& r, Payload& payload) {
  Writer out(payload, RecordType::server_start);
  out.number(r.epoch.value);
  out.number(r.at.ns);
  out.name(r.config_fingerprint);
  return out.check();
}

Result<void> encode(const Admission& r, Payload& payload) {
  Writer out(payload, RecordType::admission);
  out.number(r.request.value);
  out.number(r.accepted_at.ns);
  out.name(r.deployment);
  out.name(r.tenant);
  out.name(r.key);
  out.name(r.route);
  out.number(std::uint64_t{r.stream});
  out.number(std::int64_t{r.priority});
  out.number(r.prices.per_request.value);
  out.number(r.prices.per_device_second.value);
  out.number(r.prices.per_1k_input_tokens.value);
  out.number(r.prices.per_1k_output_tokens.value);
  return out.check();
}

void encode(const Usage& r, Payload& payload) {
  Writer out(payload, RecordType::ending);
  out.number(r.request.value);
  out.number(r.ended_at.ns);
  out.number(std::uint64_t{static_cast<std::uint8_t>(r.outcome)});
  out.number(std::int64_t{r.status});
  out.note(r.reason);
  out.number(std::uint64_t{static_cast<std::uint8_t>(r.start)});
  out.note(r.instance);
  out.note(r.device);
  for (const Duration phase : {r.phases.queue, r.phases.allocate, r.phases.start, r.phases.load,
                               r.phases.warmup, r.phases.ttft, r.phases.generate}) {
    out.number(phase.ns);
  }
  out.number(r.input_tokens);
  out.number(r.output_tokens);
  out.number(r.cached_tokens);
  out.number(std::uint64_t{r.usage_known});
  out.number(r.device_ms);
  STOKER_INVARIANT(payload.size <= max_ending_payload_bytes, "{}", payload.size);
}

Result<void> encode(const InstanceStart& r, Payload& payload) {
  Writer out(payload, RecordType::instance_start);
  out.number(r.instance.value);
  out.number(r.generation.value);
  out.number(r.epoch.value);
  out.number(r.at.ns);
  out.name(r.deployment);
  out.name(r.device);
  out.name(r.nonce);
  return out.check();
}

void encode(const InstanceEnd& r, Payload& payload) {
  Writer out(payload, RecordType::instance_end);
  out.number(r.instance.value);
  out.number(r.generation.value);
  out.number(r.epoch.value);
  out.number(r.at.ns);
  out.note(r.how);
  STOKER_INVARIANT(payload.size <= max_ending_payload_bytes, "{}", payload.size);
}

void encode(const Dispatch& r, Payload& payload) {
  Writer out(payload, RecordType::dispatch);
  out.number(r.request.value);
}

bool decode_into(std::uint8_t type, std::uint8_t version, std::span<const std::byte> payload,
                 Record& out) {
  if (version < oldest_record_version || version > record_version) return false;
  Reader in(payload);
  switch (static_cast<RecordType>(type)) {
    case RecordType::server_start:
      read(in, room_for<ServerStart>(out));
      break;
    case RecordType::admission:
      read(in, room_for<Admission>(out), version);
      break;
    case RecordType::ending:
      read(in, room_for<Usage>(out));
      break;
    case RecordType::instance_start:
      read(in, room_for<InstanceStart>(out));
      break;
    case RecordType::instance_end:
      read(in, room_for<InstanceEnd>(out));
      break;
    case RecordType::dispatch:
      read(in, room_for<Dispatch>(out));
      break;
    default:
      return false;
  }
  return in.read_all();
}

std::optional<Record> decode(std::uint8_t type, std::uint8_t version,
                             std::span<const std::byte> payload) {
  std::optional<Record> record(std::in_place);
  if (!decode_into(type, version, payload, *record)) record.reset();
  return record;
}

}  // namespace stoker::ledger
