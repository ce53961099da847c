// The SSE framer: events are the same whole and in pieces, and their raw bytes put together are
// what came in.
#include <string>
#include <vector>

#include "net/sse.h"
#include "pieces.h"

namespace stoker::net {
namespace {

constexpr std::size_t limit = 200;

struct Framed {
  std::vector<std::string> events;  // data, name and comment of each
  std::string raw;
  bool too_large = false;
  bool operator==(const Framed&) const = default;
};

Framed frame(std::string_view bytes, std::size_t piece_bytes) {
  SseFramer framer(limit);
  Framed got;
  while (!bytes.empty()) {
    const std::string piece(bytes.substr(0, piece_bytes));  // own memory: a stale view shows
    bytes.remove_prefix(piece.size());
    framer.feed(piece);
    SseEvent event;
    SseFramer::Next next = framer.next(event);
    for (; next == SseFramer::Next::event; next = framer.next(event)) {
      fuzz::require(event.raw.size() <= limit && event.raw.ends_with('\n'), "raw");
      got.events.push_back(std::string(event.data) + '\1' + std::string(event.name) + '\1' +
                           std::string(event.comment));
      got.raw += event.raw;
    }
    if (next == SseFramer::Next::too_large) {
      got.too_large = true;
      return got;
    }
  }
  got.raw += framer.unfinished();
  return got;
}

}  // namespace
}  // namespace stoker::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stoker;
  const fuzz::Input input = fuzz::cut(data, size);
  const net::Framed whole = net::frame(input.bytes, input.bytes.size() + 1);
  fuzz::require(net::frame(input.bytes, input.piece_bytes) == whole, "same in pieces");
  fuzz::require(whole.too_large || whole.raw == input.bytes, "nothing lost");
  return 0;
}
