// Whatever lies on the disk, reading it never crashes: records, frames and segment headers give a
// value or nothing. What is read as a record can be written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <type_traits>
#include <variant>

#include "ledger/codec.h"
#include "ledger/frame.h"

namespace {

using namespace stoker::ledger;

void check_round_trip(const Record& record) {
  Payload first;
  // Names and notes that decoding lets through may be longer than encoding does.
  const bool encoded = std::visit(
      [&](const auto& r) {
        if constexpr (std::is_void_v<decltype(encode(r, first))>) {
          encode(r, first);
          return true;
        } else {
          return encode(r, first).has_value();
        }
      },
      record);
  if (!encoded) return;
  if (!decode(static_cast<std::uint8_t>(first.type), record_version, first.view())) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  static_cast<void>(read_segment_header(bytes));
  static_cast<void>(read_sync_mark(bytes, 1));
  if (const std::optional<FrameView> frame = read_frame(bytes, 1)) {
    static_cast<void>(decode(frame->type, frame->version, frame->payload));
  }
  if (size == 0) return 0;
  if (const std::optional<Record> record = decode(data[0], record_version, bytes.subspan(1))) {
    check_round_trip(*record);
  }
  return 0;
}
