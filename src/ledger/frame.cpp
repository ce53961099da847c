#include "ledger/frame.h"

#include <bit>
#include <cstring>

#include "base/crc32c.h"

namespace stoker::ledger {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is written as it lies");

constexpr std::uint64_t segment_magic = 0x314c4e524a4b5453;  // "STKJRNL1"
constexpr std::size_t header_crc_at = 24;
constexpr std::size_t mark_at = 32;
constexpr std::size_t mark_crc_at = mark_at + 8;

template <class Integer>
void store(std::byte* at, Integer value) {
  std::memcpy(at, &value, sizeof(value));
}
template <class Integer>
Integer load(const std::byte* at) {
  Integer value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

std::uint32_t checksum(const std::byte* bytes, std::size_t size, std::uint64_t segment_number) {
  return crc32c(bytes, size, crc32c(&segment_number, sizeof(segment_number)));
}

}  // namespace

void write_segment_header(std::byte* out, const SegmentHeader& header) {
  store(out, segment_magic);
  store(out + 8, header.number);
  store(out + 16, header.first_sequence);
  store(out + header_crc_at, checksum(out, header_crc_at, header.number));
}

void write_sync_mark(std::byte* out, std::uint64_t segment_number, std::uint64_t synced_sequence) {
  store(out + mark_at, synced_sequence);
  store(out + mark_crc_at, checksum(out + mark_at, 8, segment_number));
}

void write_frame(std::byte* out, std::uint64_t segment_number, std::uint64_t sequence,
                 const Payload& payload) {
  store(out + 4, static_cast<std::uint16_t>(payload.size));
  store(out + 6, static_cast<std::uint8_t>(payload.type));
  store(out + 7, record_version);
  store(out + 8, sequence);
  std::memcpy(out + frame_header_bytes, payload.bytes.data(), payload.size);
  store(out, checksum(out + 4, frame_bytes(payload.size) - 4, segment_number));
}

std::optional<SegmentHeader> read_segment_header(std::span<const std::byte> segment) {
  if (segment.size() < segment_header_bytes) return std::nullopt;
  const std::byte* at = segment.data();
  const SegmentHeader header{load<std::uint64_t>(at + 8), load<std::uint64_t>(at + 16)};
  if (load<std::uint64_t>(at) != segment_magic ||
      load<std::uint32_t>(at + header_crc_at) != checksum(at, header_crc_at, header.number)) {
    return std::nullopt;
  }
  return header;
}

std::optional<std::uint64_t> read_sync_mark(std::span<const std::byte> segment,
                                            std::uint64_t segment_number) {
  if (segment.size() < segment_header_bytes) return std::nullopt;
  const std::byte* at = segment.data();
  if (load<std::uint32_t>(at + mark_crc_at) != checksum(at + mark_at, 8, segment_number)) {
    return std::nullopt;
  }
  return load<std::uint64_t>(at + mark_at);
}

std::optional<FrameView> read_frame(std::span<const std::byte> at, std::uint64_t segment_number) {
  if (at.size() < frame_header_bytes) return std::nullopt;
  const std::byte* bytes = at.data();
  const std::size_t payload_bytes = load<std::uint16_t>(bytes + 4);
  const auto type = load<std::uint8_t>(bytes + 6);
  const std::size_t size = frame_bytes(payload_bytes);
  // Type 0 is the zeros behind the last frame: no need to compute a checksum over them.
  if (type == 0 || payload_bytes > max_payload_bytes || size > at.size()) return std::nullopt;
  if (load<std::uint32_t>(bytes) != checksum(bytes + 4, size - 4, segment_number)) {
    return std::nullopt;
  }
  return FrameView{load<std::uint64_t>(bytes + 8), type, load<std::uint8_t>(bytes + 7),
                   at.subspan(frame_header_bytes, payload_bytes)};
}

}  // namespace stoker::ledger
