// Heads of requests and answers: the same bytes must give the same verdict whole and in pieces, and
// what is accepted must keep the promises that the server builds on.
#include <string>

#include "net/http_chars.h"
#include "net/http_parser.h"
#include "pieces.h"

namespace stoker::net {
namespace {

using fuzz::require;

// Small, so that the limits are reached.
const HttpLimits limits{
    .start_line_bytes = 200, .header_block_bytes = 400, .header_fields = 8, .body_bytes = 1000};

template <class Parser>
HeadParser::State feed_in_pieces(Parser& parser, const fuzz::Input& input) {
  std::string held;  // grows and moves, as a connection's buffer does
  std::size_t at = 0;
  while (at < input.bytes.size() && parser.state() == HeadParser::State::need_more) {
    held.append(input.bytes.substr(at, input.piece_bytes));
    held.shrink_to_fit();
    at += input.piece_bytes;
    parser.advance(held);
    if (parser.state() == HeadParser::State::need_more) {
      require(held.size() < parser.most_bytes(), "an unfinished head is below the limits");
    }
  }
  return parser.state();
}

void check_request(const RequestHeadParser& parser, std::string_view bytes) {
  HttpRequest request;
  parser.fill(bytes.data(), request);
  require(parser.head_bytes() <= bytes.size(), "the head lies inside the input");
  require(bytes.substr(0, parser.head_bytes()).ends_with("\r\n\r\n"), "it ends with an empty line");
  require(!request.method.empty() && all_chars(request.method, char_token), "method");
  require(request.path.starts_with('/') && all_chars(request.target, char_target), "target");
  require(request.fields.size() <= limits.header_fields, "number of fields");
  int hosts = 0;
  int lengths = 0;
  for (const Field& field : request.fields) {
    require(!field.name.empty() && all_chars(field.name, char_token), "field name");
    require(all_chars(field.value, char_value), "field value");
    hosts += equal_ignoring_case(field.name, "host") ? 1 : 0;
    lengths += equal_ignoring_case(field.name, "content-length") ? 1 : 0;
  }
  require(hosts == 1 || (request.http10 && hosts == 0), "one Host");
  require(lengths <= 1 && (lengths == 1) == parser.framing().content_length.has_value(), "length");
  require(!(parser.framing().chunked && lengths > 0), "never both framings");
  require(!(parser.framing().chunked && request.http10), "no chunks in HTTP/1.0");
  require(parser.framing().content_length.value_or(0) <= limits.body_bytes, "body limit");
}

void run(const fuzz::Input& input) {
  RequestHeadParser whole(limits);
  whole.advance(input.bytes);
  RequestHeadParser pieces(limits);
  require(feed_in_pieces(pieces, input) == whole.state(), "same verdict");
  if (whole.state() == HeadParser::State::failed) {
    require(whole.error().status >= 400, "an error has a status");
    require(pieces.error().status == whole.error().status, "same status");
  }
  if (whole.state() == HeadParser::State::done) {
    require(pieces.head_bytes() == whole.head_bytes(), "same size");
    check_request(whole, input.bytes);
  }

  ResponseHeadParser answer(limits);
  answer.reset({});
  answer.advance(input.bytes);
  ResponseHeadParser answer_pieces(limits);
  answer_pieces.reset({});
  require(feed_in_pieces(answer_pieces, input) == answer.state(), "same verdict on an answer");
  if (answer.state() == HeadParser::State::done) {
    HttpResponseHead head;
    answer.fill(input.bytes.data(), head);
    require(head.status >= 100 && head.status <= 599, "status");
    require(answer_pieces.body_end() == answer.body_end(), "same framing");
  }
}

}  // namespace
}  // namespace stoker::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  stoker::net::run(stoker::fuzz::cut(data, size));
  return 0;
}
