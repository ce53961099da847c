// The small parts of the workload readers: decimals, lines, the heap, token lengths, service times.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>

#include "sim/workload/decimal.h"
#include "sim/workload/line_reader.h"
#include "sim/workload/min_heap.h"
#include "sim/workload/session_text.h"
#include "sim/workload/token_lengths.h"
#include "workload_support.h"

namespace stoker::sim {
namespace {

TEST(Decimal, Table) {
  struct Case {
    const char* text;
    int decimals;
    std::optional<std::int64_t> want;
  };
  const Case cases[] = {
      {"0", 6, 0},
      {"1", 6, 1'000'000},
      {"4704000.125", 6, 4'704'000'125'000},
      {"0.000001", 6, 1},
      {"0.0000004", 6, 0},
      {"0.0000005", 6, 1},
      {"0.00000049999", 6, 0},
      {"0.9999995", 6, 1'000'000},
      {"-1.5", 6, -1'500'000},
      {"1.20", 9, 1'200'000'000},
      {"12.5", 0, 13},
      {"1e3", 0, 1000},
      {"1.5E+3", 6, 1'500'000'000},
      {"15e-1", 0, 2},
      {"149e-2", 0, 1},
      {"5e-7", 6, 1},
      {"4.9e-7", 6, 0},
      {"7e-30", 6, 0},
      {"9223372036854775807", 0, std::numeric_limits<std::int64_t>::max()},
      {"9223372036854775808", 0, std::nullopt},
      {"9223372036854.775808", 6, std::nullopt},
      {"1e300", 6, std::nullopt},
      {"99999999999999999999999999999999999999999999999999", 0, std::nullopt},
      {"", 6, std::nullopt},
      {"-", 6, std::nullopt},
      {"+1", 6, std::nullopt},
      {".5", 6, std::nullopt},
      {"1.", 6, std::nullopt},
      {"1.2.3", 6, std::nullopt},
      {"1e", 6, std::nullopt},
      {"1x", 6, std::nullopt},
      {"1.5x", 6, std::nullopt},
      {"0.12345678x", 6, std::nullopt},
      {" 1", 6, std::nullopt},
      {"NaN", 6, std::nullopt},
  };
  for (const Case& c : cases) EXPECT_EQ(parse_decimal(c.text, c.decimals), c.want) << c.text;
}

RC_GTEST_PROP(Decimal, WhatIsWrittenReadsBack, (std::int64_t value)) {
  const int decimals = *rc::gen::inRange(0, 19);
  RC_PRE(value != std::numeric_limits<std::int64_t>::min());
  std::string text;
  append_decimal(text, value, decimals);
  RC_ASSERT(parse_decimal(text, decimals) == value);
}

TEST(Session, ATextOfOursIsItsNumberAndAnyOtherIsHashed) {
  std::string text;
  append_session_text(text, 0x0123456789abcdefULL);
  EXPECT_EQ(text, "s0123456789abcdef");
  EXPECT_EQ(session_from_text(text), 0x0123456789abcdefULL);
  EXPECT_EQ(session_from_text("s9"), fnv1a("s9"));
  EXPECT_EQ(session_from_text("s0123456789abcdeg"), fnv1a("s0123456789abcdeg"));
  EXPECT_NE(session_from_text("s0000000000000000"), 0U);
  EXPECT_EQ(session_from_text(""), 0U);
}

TEST(LineReader, LinesOfAllKinds) {
  const TempFolder folder;
  const std::string long_line(3'000'000, 'x');
  const std::string path =
      folder.file("lines", "first\n\n  \t\nsecond\r\n\r\n" + long_line + "\nlast without an end");
  Result<LineReader> lines = LineReader::open(path);
  ASSERT_TRUE(lines);
  struct Want {
    std::string text;
    std::int64_t number;
    bool cut_off;
  };
  for (const Want& want : std::vector<Want>{{"first", 1, false},
                                            {"second", 4, false},
                                            {long_line, 6, false},
                                            {"last without an end", 7, true}}) {
    std::string_view line;
    const Result<bool> more = lines->next(line);
    ASSERT_TRUE(more && *more);
    EXPECT_EQ(line, want.text);
    EXPECT_EQ(lines->line_number(), want.number);
    EXPECT_EQ(lines->cut_off(), want.cut_off);
  }
  std::string_view line;
  EXPECT_FALSE(lines->next(line).value());
  EXPECT_FALSE(lines->next(line).value());
}

TEST(LineReader, ManyLinesAcrossTheBuffer) {
  const TempFolder folder;
  std::string content;
  for (int i = 0; i < 200'000; ++i) content += std::to_string(i) + "\n";
  Result<LineReader> lines = LineReader::open(folder.file("lines", content));
  ASSERT_TRUE(lines);
  std::string_view line;
  for (int i = 0; i < 200'000; ++i) {
    ASSERT_TRUE(lines->next(line).value());
    ASSERT_EQ(line, std::to_string(i));
  }
  EXPECT_FALSE(lines->next(line).value());
}

TEST(LineReader, SaysWhatIsMissing) {
  const Result<LineReader> lines = LineReader::open("/no/such/file");
  ASSERT_FALSE(lines);
  EXPECT_EQ(lines.error().message, "/no/such/file: No such file or directory");
}

RC_GTEST_PROP(MinHeap, GivesAllInOrder, (std::vector<int> items, std::vector<int> replacements)) {
  MinHeap<int> heap;
  for (const int item : items) heap.push(item);
  std::vector<int> rest = items;
  std::sort(rest.begin(), rest.end());
  for (const int item : replacements) {
    if (rest.empty()) break;
    RC_ASSERT(heap.top() == rest.front());
    heap.replace_top(item);
    rest.front() = item;
    std::sort(rest.begin(), rest.end());
  }
  for (const int want : rest) RC_ASSERT(heap.pop() == want);
  RC_ASSERT(heap.empty());
}

TEST(TokenSampler, IsLognormalWithinItsLimits) {
  const TokenSampler sampler({.median = 200, .sigma = 0.8, .least = 10, .most = 2000});
  Prng prng(1);
  std::vector<std::int64_t> drawn(200'000);
  for (std::int64_t& length : drawn) length = sampler.draw(prng);
  std::sort(drawn.begin(), drawn.end());
  const auto quantile = [&](double q) {
    return static_cast<double>(drawn[static_cast<std::size_t>(q * 200'000)]);
  };
  EXPECT_NEAR(quantile(0.5), 200, 3);
  EXPECT_NEAR(quantile(0.841345), 200 * std::exp(0.8), 10);
  EXPECT_NEAR(quantile(0.158655), 200 * std::exp(-0.8), 3);
  EXPECT_GE(drawn.front(), 10);
  EXPECT_EQ(drawn.back(), 2000);
  const TokenSampler constant({.median = 77, .sigma = 0});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(constant.draw(prng), 77);
}

TEST(ServiceTime, Table) {
  const TraceDeployment deployment{.prefill_tokens_per_s = 1000, .decode_tokens_per_s = 50};
  const auto tokens = [](std::int64_t in, std::int64_t out) {
    TraceRequest request;
    request.input_tokens = in;
    request.output_tokens = out;
    return request;
  };
  EXPECT_EQ(service_time(tokens(500, 100), deployment), ms(2500));
  EXPECT_EQ(service_time(tokens(0, 0), deployment), Duration{});
  TraceRequest recorded = tokens(500, 100);
  recorded.service = ms(7);
  EXPECT_EQ(service_time(recorded, deployment), ms(7));
  // Nonsense gives a long time, never an overflow.
  TraceDeployment dead = deployment;
  dead.decode_tokens_per_s = 0;
  EXPECT_EQ(service_time(tokens(1, 1), dead), minutes(std::int64_t{100} * 365 * 24 * 60));
  EXPECT_EQ(service_time(tokens(0, 0), dead), minutes(std::int64_t{100} * 365 * 24 * 60));
}

TEST(Names, RoutesAndOutcomesReadBack) {
  for (int i = 0; i <= static_cast<int>(TraceRoute::other); ++i) {
    const auto route = static_cast<TraceRoute>(i);
    EXPECT_EQ(route_from_text(to_text(route)), route);
  }
  for (int i = 0; i <= static_cast<int>(TraceOutcome::interrupted); ++i) {
    const auto outcome = static_cast<TraceOutcome>(i);
    EXPECT_EQ(outcome_from_text(to_text(outcome)), outcome);
  }
  EXPECT_EQ(route_from_text("teleport"), TraceRoute::other);
  EXPECT_EQ(outcome_from_text("vanished"), TraceOutcome::unknown);
}

}  // namespace
}  // namespace stoker::sim
