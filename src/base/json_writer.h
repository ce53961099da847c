// Writes JSON text into a string. Only a writer: reading is simdjson's. No pretty printing, no
// tree, no allocation beyond the string.
//
//   JsonWriter json;
//   json.object([&] { json.field("name", name); json.array("ids", [&] { json.value(1); }); });
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace stoker {

/// Appends `text` to `out` as a JSON string with its quotes. Bytes that are not UTF-8 become
/// U+FFFD, so that the output is always valid JSON.
void append_json_string(std::string& out, std::string_view text);
/// Appends a double in its shortest form; NaN and infinities become null.
void append_json_double(std::string& out, double number);

class JsonWriter {
 public:
  template <class Body>
  void object(Body&& body) {
    open('{');
    std::forward<Body>(body)();
    close('}');
  }
  template <class Body>
  void object(std::string_view key, Body&& body) {
    this->key(key);
    object(std::forward<Body>(body));
  }
  template <class Body>
  void array(Body&& body) {
    open('[');
    std::forward<Body>(body)();
    close(']');
  }
  template <class Body>
  void array(std::string_view key, Body&& body) {
    this->key(key);
    array(std::forward<Body>(body));
  }
  template <class Value>
  void field(std::string_view name, const Value& v) {
    key(name);
    value(v);
  }
  /// `json_text` must be one valid JSON value; it is copied as it is.
  void raw_field(std::string_view name, std::string_view json_text) {
    key(name);
    raw(json_text);
  }
  void null_field(std::string_view name) { raw_field(name, "null"); }
  void key(std::string_view name);
  void value(std::string_view text);
  void value(const std::string& text) { value(std::string_view(text)); }
  void value(const char* text) { value(std::string_view(text)); }
  void value(bool b) { raw(b ? "true" : "false"); }
  void value(double number);
  template <std::integral Integer>
  void value(Integer number) {
    separate();
    out_ += std::to_string(number);
  }
  void raw(std::string_view json_text);

  [[nodiscard]] const std::string& text() const { return out_; }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  void open(char bracket);
  void close(char bracket);
  void separate();

  std::string out_;
  bool need_comma_ = false;
};

}  // namespace stoker
