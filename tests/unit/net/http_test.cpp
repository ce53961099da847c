#include "net/http.h"

#include <gtest/gtest.h>

#include "net/date_text.h"

namespace stoker::net {
namespace {

TEST(PercentDecode, Table) {
  EXPECT_EQ(percent_decode("a%20b%2Fc"), "a b/c");
  EXPECT_EQ(percent_decode(""), "");
  EXPECT_EQ(percent_decode("+"), "+");
  for (const char* bad : {"%", "%2", "a%2", "%zz", "%2z", "%00"}) {
    EXPECT_EQ(percent_decode(bad), std::nullopt) << bad;
  }
}

TEST(QueryValue, Table) {
  EXPECT_EQ(query_value("a=1&b=2", "b"), "2");
  EXPECT_EQ(query_value("a=1&b=2", "c"), std::nullopt);
  EXPECT_EQ(query_value("ab=1&a=2", "a"), "2");
  EXPECT_EQ(query_value("a", "a"), "");
  EXPECT_EQ(query_value("a=", "a"), "");
  EXPECT_EQ(query_value("a=b=c", "a"), "b=c");
  EXPECT_EQ(query_value("a=%41", "a"), "A");
  EXPECT_EQ(query_value("a=%4", "a"), std::nullopt);
  EXPECT_EQ(query_value("", "a"), std::nullopt);
}

TEST(HttpDate, Known) {
  EXPECT_EQ(http_date({0}), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(http_date({784111777LL * 1'000'000'000}), "Sun, 06 Nov 1994 08:49:37 GMT");
  DateField field;
  EXPECT_EQ(field.text({0}), "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
  EXPECT_EQ(field.text({1'500'000'000}), "Date: Thu, 01 Jan 1970 00:00:01 GMT\r\n");
}

TEST(ReasonPhrase, Known) {
  EXPECT_EQ(reason_phrase(200), "OK");
  EXPECT_EQ(reason_phrase(299), "Status");
}

}  // namespace
}  // namespace stoker::net
