// The chunked coding: the same bytes give the same body, end and verdict whole and in pieces, and
// never more body than the limit.
#include <string>

#include "net/http_parser.h"
#include "pieces.h"

namespace stoker::net {
namespace {

const HttpLimits limits{.body_bytes = 300, .chunks = 20, .chunk_extension_bytes = 40};

struct Decoded {
  std::string body;
  ChunkDecoder::State state = ChunkDecoder::State::need_more;
  int status = 0;
  std::size_t taken = 0;
  bool operator==(const Decoded&) const = default;
};

Decoded decode(std::string_view bytes, std::size_t piece_bytes) {
  ChunkDecoder decoder(limits);
  Decoded got;
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, piece_bytes);
    const std::size_t before = piece.size();
    std::string_view data;
    do {
      data = {};
      got.state = decoder.next(piece, data);
      got.body += data;
    } while (got.state == ChunkDecoder::State::data);
    got.taken += before - piece.size();
    bytes.remove_prefix(before);
    if (got.state == ChunkDecoder::State::failed) got.status = decoder.error().status;
    if (got.state != ChunkDecoder::State::need_more) break;
    fuzz::require(piece.empty(), "need_more takes all");
  }
  return got;
}

}  // namespace
}  // namespace stoker::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stoker;
  const fuzz::Input input = fuzz::cut(data, size);
  const net::Decoded whole = net::decode(input.bytes, input.bytes.size() + 1);
  fuzz::require(net::decode(input.bytes, input.piece_bytes) == whole, "same in pieces");
  fuzz::require(whole.body.size() <= net::limits.body_bytes, "body limit");
  return 0;
}
