// The bytes of a journal segment file. Little-endian, everything aligned to 8.
//
//   0   segment header  magic "STKJRNL1", u64 number, u64 first sequence, u32 crc, u32 zero
//   32  sync mark       u64 last synced sequence, u32 crc, u32 zero
//   64  frames          u32 crc, u16 payload bytes, u8 type, u8 version, u64 sequence,
//                       payload, zeros up to a multiple of 8; then the next; then zeros to the end
//
// All checksums are CRC-32C, begun with the segment's number, so that bytes of another segment are
// never taken for this one's. The mark is written after a sync: it tells a torn tail (records that
// were never promised to be on the disk) from damage (records that were there).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "ledger/codec.h"

namespace stoker::ledger {

inline constexpr std::size_t segment_header_bytes = 64;
inline constexpr std::size_t frame_header_bytes = 16;
inline constexpr std::size_t max_frame_bytes = frame_header_bytes + max_payload_bytes;
inline constexpr std::size_t max_ending_frame_bytes = frame_header_bytes + max_ending_payload_bytes;

[[nodiscard]] constexpr std::size_t frame_bytes(std::size_t payload_bytes) {
  return (frame_header_bytes + payload_bytes + 7) / 8 * 8;
}

struct SegmentHeader {
  std::uint64_t number = 0;
  std::uint64_t first_sequence = 0;
};

/// A frame in somebody else's buffer.
struct FrameView {
  std::uint64_t sequence = 0;
  std::uint8_t type = 0;
  std::uint8_t version = 0;
  std::span<const std::byte> payload;
};

/// Needs: room for segment_header_bytes / frame_bytes(payload.size) at `out`, zeroed.
void write_segment_header(std::byte* out, const SegmentHeader& header);
void write_sync_mark(std::byte* out, std::uint64_t segment_number, std::uint64_t synced_sequence);
void write_frame(std::byte* out, std::uint64_t segment_number, std::uint64_t sequence,
                 const Payload& payload);

/// Each gives nothing unless all the bytes are there and their checksum is right. `segment` and
/// `at` may hold anything. The first two want the beginning of the file.
[[nodiscard]] std::optional<SegmentHeader> read_segment_header(std::span<const std::byte> segment);
[[nodiscard]] std::optional<std::uint64_t> read_sync_mark(std::span<const std::byte> segment,
                                                          std::uint64_t segment_number);
[[nodiscard]] std::optional<FrameView> read_frame(std::span<const std::byte> at,
                                                  std::uint64_t segment_number);

}  // namespace stoker::ledger
