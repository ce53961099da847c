// Reading answers of the API: a field that is absent or of another type reads as empty or zero.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace stoker::cli {

inline std::string text_of(simdjson::dom::element object, std::string_view key) {
  std::string_view text;
  return object[key].get(text) == simdjson::SUCCESS ? std::string(text) : std::string();
}
inline std::int64_t integer_of(simdjson::dom::element object, std::string_view key) {
  std::int64_t number = 0;
  return object[key].get(number) == simdjson::SUCCESS ? number : 0;
}
inline double number_of(simdjson::dom::element object, std::string_view key) {
  double number = 0;
  return object[key].get(number) == simdjson::SUCCESS ? number : 0;
}
inline bool bool_of(simdjson::dom::element object, std::string_view key) {
  bool value = false;
  return object[key].get(value) == simdjson::SUCCESS && value;
}
/// Calls `visit(element)` for each entry of the array `key`; nothing if there is none.
template <class Visit>
void for_each_of(simdjson::dom::element object, std::string_view key, Visit&& visit) {
  simdjson::dom::array array;
  if (object[key].get(array) != simdjson::SUCCESS) return;
  for (const simdjson::dom::element each : array) visit(each);
}

}  // namespace stoker::cli
