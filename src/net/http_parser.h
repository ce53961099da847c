// The words of HTTP/1.1 taken apart: heads of requests and answers, and the chunked coding.
// Strict and limit-first: a limit is checked before more bytes are asked for, what RFC 9112 lets us
// refuse is refused, and nothing is repaired. Pure: no I/O, no clock; the same bytes give the same
// verdict however they are cut into pieces (the tests and the fuzzers hold this).
// Sources: RFC 9110, RFC 9112; RELIABILITY.md 2 A.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "net/http.h"

namespace stoker::net {

/// Why a message is refused.
struct HttpError {
  int status = 0;            // what a server answers; a client only needs that it is not 0
  const char* message = "";  // for people; a literal
};

/// Reads a head line by line. The caller keeps the bytes of the message in one piece and hands over
/// all of them each time; a byte is looked at once however often that is.
class HeadParser {
 public:
  enum class State : std::uint8_t { need_more, done, failed };

  virtual ~HeadParser() = default;
  HeadParser(const HeadParser&) = delete;
  HeadParser& operator=(const HeadParser&) = delete;

  /// `bytes`: the message from its first byte on. They may have moved in memory between calls.
  /// Gives done once the head is whole, with head_bytes() set; later bytes are not looked at.
  State advance(std::string_view bytes);
  [[nodiscard]] State state() const { return state_; }
  /// So much of the message, from its first byte on, is worth reading before the next advance().
  [[nodiscard]] std::size_t most_bytes() const;
  /// Size of the head with its closing empty line. Needs: done.
  [[nodiscard]] std::size_t head_bytes() const { return line_start_; }
  /// Needs: failed.
  [[nodiscard]] HttpError error() const { return error_; }

 protected:
  /// Where something lies in the message; a view would dangle when the buffer grows.
  struct Span {
    std::size_t start = 0;
    std::size_t size = 0;
    [[nodiscard]] std::string_view in(const char* base) const { return {base + start, size}; }
  };
  static constexpr HttpError no_error{};

  explicit HeadParser(const HttpLimits& limits) : limits_(limits) {}
  void reset_lines();
  [[nodiscard]] Span span_of(std::string_view part) const {
    return {static_cast<std::size_t>(part.data() - base_), part.size()};
  }
  /// The message; only inside the on_ functions.
  [[nodiscard]] const char* base() const { return base_; }
  void collect_fields(const char* base, Fields& fields) const;

  virtual HttpError on_start_line(std::string_view line) = 0;
  virtual HttpError on_field(std::string_view name, std::string_view value) = 0;
  virtual HttpError on_end() = 0;
  /// The first byte of a message, before its line is whole.
  virtual HttpError on_first_byte(char first) = 0;

 private:
  enum class Part : std::uint8_t { before, start_line, fields };
  State fail(HttpError error);
  HttpError check_limits(std::size_t end, bool whole_line) const;
  bool skip_to_start(std::string_view bytes);
  HttpError take_line(std::string_view line);
  HttpError take_field(std::string_view line);

  const HttpLimits& limits_;
  const char* base_ = nullptr;  // only during advance()
  std::size_t scanned_ = 0;     // no line end before this
  std::size_t line_start_ = 0;
  std::size_t start_ = 0;  // of the start line: 0, or 2 after one empty line
  std::size_t fields_start_ = 0;
  std::vector<std::pair<Span, Span>> fields_;
  Part part_ = Part::before;
  State state_ = State::need_more;
  HttpError error_;
};

/// What of a request's head decides how the connection goes on.
struct RequestFraming {
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool expect_continue = false;
};

class RequestHeadParser final : public HeadParser {
 public:
  /// `limits` must outlive the parser.
  explicit RequestHeadParser(const HttpLimits& limits) : HeadParser(limits), limits_(limits) {}
  /// Ready for the next request.
  void reset();
  [[nodiscard]] const RequestFraming& framing() const { return framing_; }
  /// Fills in all but the body, with views into the message at `base`. Needs: done.
  void fill(const char* base, HttpRequest& request) const;

 private:
  HttpError on_first_byte(char first) override;
  HttpError on_start_line(std::string_view line) override;
  HttpError on_field(std::string_view name, std::string_view value) override;
  HttpError on_end() override;
  HttpError take_target(std::string_view target);
  HttpError take_host(std::string_view value);
  HttpError take_content_length(std::string_view value);
  HttpError take_transfer_encoding(std::string_view value);
  HttpError take_expect(std::string_view value);
  HttpError take_upgrade(std::string_view value);
  void take_connection(std::string_view value);
  [[nodiscard]] HttpError check_upgrade() const;

  const HttpLimits& limits_;
  RequestFraming framing_;
  Span method_, target_, path_, query_, authority_, host_;
  bool http10_ = false;
  bool has_host_ = false;
  bool has_authority_ = false;  // the target was in absolute form
  bool connection_close_ = false;
  bool connection_keep_alive_ = false;
  bool connection_upgrade_ = false;
  bool upgrade_ = false;
  bool has_socket_key_ = false;
};

/// How the body of an answer ends.
enum class BodyEnd : std::uint8_t { none, length, chunked, connection_close };

class ResponseHeadParser final : public HeadParser {
 public:
  /// `limits` must outlive the parser; of it only the sizes of the head are used.
  explicit ResponseHeadParser(const HttpLimits& limits) : HeadParser(limits) {}
  /// What the next answer is one to.
  struct Answers {
    bool head_request = false;
    bool upgrade_request = false;  // only then may it be 101, and that is its final status
  };
  /// Ready for the next answer.
  void reset(Answers answers);
  [[nodiscard]] int status() const { return status_; }
  /// An answer before the real one. Needs: done.
  [[nodiscard]] bool interim() const { return status_ < 200 && status_ != 101; }
  /// Needs: done.
  [[nodiscard]] BodyEnd body_end() const;
  /// Whether the connection may be used again once the body has ended. Needs: done.
  [[nodiscard]] bool keep_alive() const;
  void fill(const char* base, HttpResponseHead& head) const;

 private:
  HttpError on_first_byte(char first) override;
  HttpError on_start_line(std::string_view line) override;
  HttpError on_field(std::string_view name, std::string_view value) override;
  HttpError on_end() override;

  Span reason_;
  int status_ = 0;
  std::optional<std::uint64_t> content_length_;
  Answers answers_;
  bool http10_ = false;
  bool chunked_ = false;
  bool connection_close_ = false;
  bool connection_keep_alive_ = false;
};

/// Undoes the chunked coding. Extensions and trailer fields are checked and skipped; a trailer that
/// would have decided where the request ends or goes is refused (RFC 9110 6.5.1).
class ChunkDecoder {
 public:
  enum class State : std::uint8_t { need_more, data, end, failed };

  /// `limits` must outlive the decoder; of it body_bytes, chunks and chunk_extension_bytes are
  /// used.
  explicit ChunkDecoder(const HttpLimits& limits) : limits_(limits) {}
  void reset();
  /// Takes bytes off the front of `input`. data: `data` is the next piece of the body, a view into
  /// what was taken; call again. need_more: all was taken. end: what is left of `input` belongs to
  /// the next message.
  State next(std::string_view& input, std::string_view& data);
  /// Needs: failed.
  [[nodiscard]] HttpError error() const { return error_; }

 private:
  enum class Part : std::uint8_t {
    size_start,
    size,
    extension_name,
    extension_value,
    extension_quoted,
    extension_escaped,
    extension_end,  // behind a quoted value
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer_name,
    trailer_value,
    trailer_lf,
    end_lf,
    end,
    failed,
  };
  State fail(HttpError error);
  HttpError step(char byte);
  HttpError step_size(char byte);
  HttpError step_extension(char byte);
  HttpError step_trailer(char byte);
  HttpError end_of_size();

  const HttpLimits& limits_;
  Part part_ = Part::size_start;
  int size_digits_ = 0;
  std::size_t line_bytes_ = 0;       // of the size line, or of all trailer lines
  std::size_t extension_bytes_ = 0;  // of the whole body
  bool empty_ = true;                // the name or value of an extension so far
  std::array<char, 17> name_{};      // of a trailer field, as far as it fits
  std::size_t name_bytes_ = 0;
  std::size_t chunks_ = 0;
  std::uint64_t left_ = 0;   // of the current chunk
  std::uint64_t total_ = 0;  // of all chunks so far
  HttpError error_;
};

}  // namespace stoker::net
