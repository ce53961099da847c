#include "base/json_writer.h"

#include <gtest/gtest.h>

#include <limits>

namespace stoker {
namespace {

TEST(JsonWriter, NestsAndSeparates) {
  JsonWriter json;
  json.object([&] {
    json.field("text", "a");
    json.field("int", -1);
    json.field("big", std::numeric_limits<std::uint64_t>::max());
    json.field("bool", true);
    json.field("double", 0.5);
    json.null_field("null");
    json.raw_field("raw", R"({"x":[]})");
    json.object("object", [&] { json.field("inner", 1); });
    json.object("empty", [] {});
    json.array("array", [&] {
      json.value(1);
      json.value("two");
      json.array([&] { json.value(false); });
      json.object([&] { json.field("k", "v"); });
      json.object([] {});
    });
    json.field("last", 0);
  });
  EXPECT_EQ(
      json.text(),
      R"({"text":"a","int":-1,"big":18446744073709551615,"bool":true,"double":0.5,"null":null,)"
      R"("raw":{"x":[]},"object":{"inner":1},"empty":{},"array":[1,"two",[false],{"k":"v"},{}],)"
      R"("last":0})");
}

TEST(JsonWriter, StringsAreAlwaysValidJson) {
  const auto of = [](std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
  };
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(of("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(of("\n\r\t\x01\x1f"), R"("\n\r\t\u0001\u001f")");
  EXPECT_EQ(of(std::string_view("\0", 1)), R"("\u0000")");
  EXPECT_EQ(of("é€😀"), "\"é€😀\"");
  EXPECT_EQ(of("\xff"), '"' + bad + '"');
  EXPECT_EQ(of("\xc3"), '"' + bad + '"');                                // cut
  EXPECT_EQ(of("\xc0\xaf"), '"' + bad + bad + '"');                      // overlong
  EXPECT_EQ(of("\xed\xa0\x80"), '"' + bad + bad + bad + '"');            // surrogate
  EXPECT_EQ(of("\xf4\x90\x80\x80"), '"' + bad + bad + bad + bad + '"');  // above U+10FFFF
  EXPECT_EQ(of("a\xe2\x82z"), "\"a" + bad + bad + "z\"");
}

TEST(JsonWriter, DoublesAreShortAndNeverNotANumber) {
  const auto of = [](double number) {
    std::string out;
    append_json_double(out, number);
    return out;
  };
  EXPECT_EQ(of(0.1), "0.1");
  EXPECT_EQ(of(1e300), "1e+300");
  EXPECT_EQ(of(-2.5), "-2.5");
  EXPECT_EQ(of(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(of(std::numeric_limits<double>::infinity()), "null");
}

}  // namespace
}  // namespace stoker
