#include "config/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/prng.h"
#include "config/config.h"

namespace stoker::config {
namespace {

using testing::HasSubstr;

TEST(Duration, ReadsWhatPeopleWrite) {
  const std::vector<std::pair<std::string_view, Duration>> table = {
      {"300s", seconds(300)},    {"5 minutes", minutes(5)},
      {"5m", minutes(5)},        {"1 minute", minutes(1)},
      {"1.5h", minutes(90)},     {"1h30m", minutes(90)},
      {"1h 30m", minutes(90)},   {"2 Minutes 30 seconds", seconds(150)},
      {"250ms", ms(250)},        {"0.25s", ms(250)},
      {"0", seconds(0)},         {"0s", seconds(0)},
      {"10us", us(10)},          {"7ns", Duration{7}},
      {"2 days", minutes(2880)}, {" 5 m ", minutes(5)},
      {"never", never},
  };
  for (const auto& [text, expected] : table) {
    const Parsed<Duration> parsed = parse_duration(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().message;
    EXPECT_EQ(parsed->ns, expected.ns) << text;
  }
}

TEST(Duration, RefusesWhatIsNotExactOrNotClear) {
  const std::vector<std::pair<std::string_view, std::string_view>> table = {
      {"300", "has no unit"},
      {"5.5", "has no unit"},
      {"5M", "unknown unit 'M'"},
      {"5 fortnights", "unknown unit"},
      {"", "is not a duration"},
      {"m", "is not a duration"},
      {"-5m", "is negative"},
      {"5m 1h", "is not a duration"},
      {"5m5m", "is not a duration"},
      {"1.5ns", "is too long, or not a whole number of nanoseconds"},
      {"99999999999h", "is too long"},
      {"0.1234567890123456789s", "is not a duration"},
      {".5s", "is not a duration"},
      {"5.s", "is not a duration"},
      {"1e3s", "unknown unit 'e'"},
      {"101 years", "unknown unit"},
      {"999999h", "over 100 years"},
      {"99999999999999999999s", "is not a duration"},
      {"5m!", "is not a duration"},
  };
  for (const auto& [text, message] : table) {
    const Parsed<Duration> parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr(std::string(message))) << text;
  }
}

TEST(Duration, TextIsCanonicalAndReadsBack) {
  EXPECT_EQ(duration_text(seconds(300)), "5m");
  EXPECT_EQ(duration_text(seconds(90)), "90s");
  EXPECT_EQ(duration_text(minutes(120)), "2h");
  EXPECT_EQ(duration_text(ms(1500)), "1500ms");
  EXPECT_EQ(duration_text(Duration{1}), "1ns");
  EXPECT_EQ(duration_text({0}), "0s");
  EXPECT_EQ(duration_text(never), "never");
  Prng prng(1);
  for (int i = 0; i < 2000; ++i) {
    const Duration duration{static_cast<std::int64_t>(prng.next() >> (1 + prng.below(63))) %
                            never.ns};
    const Parsed<Duration> back = parse_duration(duration_text(duration));
    ASSERT_TRUE(back) << duration.ns;
    EXPECT_EQ(back->ns, duration.ns);
  }
}

TEST(Size, ReadsBothFamiliesOfUnits) {
  const std::vector<std::pair<std::string_view, std::int64_t>> table = {
      {"40GiB", 40LL << 30},
      {"40 GiB", 40LL << 30},
      {"40Gi", 40LL << 30},
      {"40gib", 40LL << 30},
      {"40GB", 40'000'000'000},
      {"1.5GiB", 3LL << 29},
      {"512 MiB", 512 << 20},
      {"0", 0},
      {"17B", 17},
      {"1kB", 1000},
      {"1KB", 1000},
      {"1TiB", 1LL << 40},
      {"2TB", 2'000'000'000'000},
  };
  for (const auto& [text, expected] : table) {
    const Parsed<Bytes> parsed = parse_bytes(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().message;
    EXPECT_EQ(parsed->value, expected) << text;
  }
}

TEST(Size, RefusesGuesses) {
  const auto message = [](std::string_view text) {
    const Parsed<Bytes> parsed = parse_bytes(text);
    return parsed ? "accepted" : parsed.error().message;
  };
  EXPECT_EQ(message("40G"), "'40G' may mean 40GiB or 40GB");
  EXPECT_EQ(message("40"), "'40' has no unit");
  EXPECT_EQ(message("0.3B"), "'0.3B' is too large, or not a whole number of bytes");
  EXPECT_EQ(message("9999999TiB"), "'9999999TiB' is too large, or not a whole number of bytes");
  EXPECT_EQ(message("40 gigs"), "'40 gigs' is not a size");
  EXPECT_EQ(message("-1GiB"), "'-1GiB' is not a size");
  EXPECT_EQ(message(""), "'' is not a size");
}

TEST(Size, TextIsCanonicalAndReadsBack) {
  EXPECT_EQ(bytes_text(gib(40)), "40GiB");
  EXPECT_EQ(bytes_text({40'000'000'000}), "40GB");
  EXPECT_EQ(bytes_text({1000}), "1kB");
  EXPECT_EQ(bytes_text({1025}), "1025B");
  EXPECT_EQ(bytes_text({0}), "0B");
  Prng prng(2);
  for (int i = 0; i < 2000; ++i) {
    const Bytes bytes{static_cast<std::int64_t>(prng.next() >> (1 + prng.below(63)))};
    const Parsed<Bytes> back = parse_bytes(bytes_text(bytes));
    ASSERT_TRUE(back) << bytes.value;
    EXPECT_EQ(back->value, bytes.value);
  }
}

TEST(Percent, NeedsItsSign) {
  EXPECT_EQ(parse_percent("70%").value(), 70);
  EXPECT_EQ(parse_percent("70 %").value(), 70);
  EXPECT_EQ(parse_percent("70.0%").value(), 70);
  EXPECT_EQ(parse_percent("0.7").error().hint, "write 70%");
  EXPECT_EQ(parse_percent("0.75").error().hint, "write 75%");
  EXPECT_EQ(parse_percent("1.0").error().hint, "write 100%");
  EXPECT_EQ(parse_percent("70").error().hint, "write 70%");
  EXPECT_EQ(parse_percent("67.5%").error().message, "'67.5%' is not a whole percentage");
  EXPECT_FALSE(parse_percent("70%%"));
  EXPECT_FALSE(parse_percent("99999999999%"));
  EXPECT_FALSE(parse_percent("percent"));
}

TEST(Price, IsExact) {
  const auto nano = [](std::string_view text) { return parse_price(text).value().price.value; };
  EXPECT_EQ(nano("$0.001"), 1'000'000);
  EXPECT_EQ(nano("0.001"), 1'000'000);
  EXPECT_EQ(nano("$ 0.001"), 1'000'000);
  EXPECT_EQ(nano("0.000000001"), 1);
  EXPECT_EQ(nano("12"), 12'000'000'000);
  EXPECT_EQ(nano("0"), 0);
  EXPECT_EQ(parse_price("0.001 EUR").value().currency, "EUR");
  EXPECT_EQ(parse_price("EUR 2").value().currency, "EUR");
  EXPECT_EQ(parse_price("2€").value().currency, "€");
  EXPECT_FALSE(parse_price("0.0000000001"));
  EXPECT_FALSE(parse_price("-1"));
  EXPECT_FALSE(parse_price("$-1"));
  EXPECT_FALSE(parse_price("$1 USD"));
  EXPECT_FALSE(parse_price("$"));
  EXPECT_FALSE(parse_price("1e-3"));
  EXPECT_FALSE(parse_price("free"));
}

TEST(Price, TextReadsBack) {
  EXPECT_EQ(price_text({1'000'000}), "0.001");
  EXPECT_EQ(price_text({0}), "0");
  EXPECT_EQ(price_text({1'500'000'000}), "1.5");
  Prng prng(3);
  for (int i = 0; i < 2000; ++i) {
    const NanoPrice price{static_cast<std::int64_t>(prng.next() >> (1 + prng.below(63)))};
    EXPECT_EQ(parse_price(price_text(price)).value().price, price);
  }
}

TEST(Price, CurrencyMustBeTheFilesOne) {
  EXPECT_TRUE(currency_matches("", "EUR"));
  EXPECT_TRUE(currency_matches("$", "USD"));
  EXPECT_TRUE(currency_matches("$", "CAD"));
  EXPECT_TRUE(currency_matches("€", "EUR"));
  EXPECT_TRUE(currency_matches("CHF", "CHF"));
  EXPECT_FALSE(currency_matches("$", "EUR"));
  EXPECT_FALSE(currency_matches("USD", "EUR"));
}

TEST(Count, TakesItsNoun) {
  EXPECT_EQ(parse_count("10").value(), 10);
  EXPECT_EQ(parse_count("-3").value(), -3);
  EXPECT_EQ(parse_count("10 requests queued", "requests queued").value(), 10);
  EXPECT_EQ(parse_count("10 requests", "requests queued").value(), 10);
  EXPECT_EQ(parse_count("1 request queued", "requests queued").value(), 1);
  EXPECT_FALSE(parse_count("10 queued", "requests queued"));
  EXPECT_FALSE(parse_count("10 requests queued now", "requests queued"));
  EXPECT_FALSE(parse_count("10 requests"));
  EXPECT_FALSE(parse_count("1.5"));
  EXPECT_FALSE(parse_count("--1"));
  EXPECT_FALSE(parse_count("0x10"));
  EXPECT_FALSE(parse_count(""));
  EXPECT_FALSE(parse_count("99999999999999999999"));
}

TEST(OtherValues, TablesOfGoodAndBad) {
  EXPECT_EQ(parse_milli("2.5").value(), 2500);
  EXPECT_EQ(milli_text(2500), "2.5");
  EXPECT_FALSE(parse_milli("2.5555"));
  EXPECT_TRUE(parse_bool("true").value());
  EXPECT_FALSE(parse_bool("False").value());
  EXPECT_EQ(parse_bool("yes").error().hint, "write true");
  EXPECT_EQ(parse_bool("off").error().hint, "write false");
  EXPECT_EQ(parse_time_of_day("08:30").value(), 510);
  EXPECT_EQ(parse_time_of_day("24:00").value(), 1440);
  EXPECT_FALSE(parse_time_of_day("24:01"));
  EXPECT_FALSE(parse_time_of_day("8:30"));
  EXPECT_FALSE(parse_time_of_day("12:60"));
}

TEST(Days, RangesMayCrossTheWeeksEnd) {
  EXPECT_EQ(parse_days("mon-fri").value(), 0b0011111);
  EXPECT_EQ(parse_days("Sat, Sun").value(), 0b1100000);
  EXPECT_EQ(parse_days("fri-mon").value(), 0b1110001);
  EXPECT_EQ(parse_days("daily").value(), 0b1111111);
  EXPECT_FALSE(parse_days("monday"));
  EXPECT_FALSE(parse_days(""));
  EXPECT_FALSE(parse_days("mon,"));
  for (unsigned days = 1; days < 128; ++days) {
    const auto bits = static_cast<std::uint8_t>(days);
    EXPECT_EQ(parse_days(days_text(bits)).value(), bits);
  }
}

}  // namespace
}  // namespace stoker::config
