#include <gtest/gtest.h>

#include "base/hex.h"
#include "base/lower_case.h"

namespace stoker {
namespace {

TEST(ToHex, TwoLowerCaseDigitsForEachByte) {
  EXPECT_EQ(to_hex(""), "");
  EXPECT_EQ(to_hex(std::string_view("\0\x01\x0f\x10\x7f", 5)), "00010f107f");
  EXPECT_EQ(to_hex("\x80\xab\xff"), "80abff");
}

TEST(LowerCase, ChangesTheLettersOfAsciiAlone) {
  EXPECT_EQ(lower_case(""), "");
  EXPECT_EQ(lower_case("AZaz09"), "azaz09");
  EXPECT_EQ(lower_case("@[`{ -"), "@[`{ -");
  EXPECT_EQ(lower_case("\xc3\x84\xff"), "\xc3\x84\xff");
}

}  // namespace
}  // namespace stoker
