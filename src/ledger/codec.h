// Records as bytes and back. Integers are LEB128 varints (signed ones zigzag), texts are a length
// and bytes, fields come in the order of record.h. A changed layout gets a new version; old ones
// stay readable. Decoding is total: any bytes give a record or nothing.
// Source: LEB128 and zigzag as in the Protocol Buffers encoding specification.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "ledger/record.h"

namespace stoker::ledger {

enum class RecordType : std::uint8_t {
  server_start = 1,
  admission = 2,
  ending = 3,
  instance_start = 4,
  instance_end = 5,
  dispatch = 6,
};

inline constexpr std::uint8_t record_version = 2;  // 2: admissions name their key
inline constexpr std::uint8_t oldest_record_version = 1;
inline constexpr std::size_t max_payload_bytes = 1024;
inline constexpr std::size_t max_name_bytes = 255;  // a longer one is refused
inline constexpr std::size_t max_note_bytes = 96;   // a longer one is cut: endings must always fit
/// No ending of a request or an instance is larger than this.
inline constexpr std::size_t max_ending_payload_bytes = 496;

struct Payload {
  RecordType type = RecordType::server_start;
  std::size_t size = 0;
  std::array<std::byte, max_payload_bytes> bytes;  // only the first `size` are set

  [[nodiscard]] std::span<const std::byte> view() const { return {bytes.data(), size}; }
};

/// Replaces `out`.
/// Gives:  the texts of Usage and InstanceEnd cut to max_note_bytes; all else unchanged.
/// Errors: invalid (a name longer than max_name_bytes).   Cost: no allocation.
[[nodiscard]] Result<void> encode(const ServerStart& record, Payload& out);
[[nodiscard]] Result<void> encode(const Admission& record, Payload& out);
[[nodiscard]] Result<void> encode(const InstanceStart& record, Payload& out);
void encode(const Usage& record, Payload& out);
void encode(const InstanceEnd& record, Payload& out);
void encode(const Dispatch& record, Payload& out);

/// Gives: nothing if the type or version is unknown, a value is out of range, or bytes are missing
/// or left over.
[[nodiscard]] std::optional<Record> decode(std::uint8_t type, std::uint8_t version,
                                           std::span<const std::byte> payload);

/// The same into a record that is there already, whose texts are used again: no allocation for
/// records like the ones before.   Gives: false for what decode() gives nothing for; `out` is then
/// anything.
[[nodiscard]] bool decode_into(std::uint8_t type, std::uint8_t version,
                               std::span<const std::byte> payload, Record& out);

}  // namespace stoker::ledger
