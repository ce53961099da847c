#include "ledger/record.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "ledger/sqlite/pico_text.h"
#include "support.h"

namespace stoker::ledger {
namespace {

struct AmountCase {
  const char* name;
  Prices prices;
  StartKind start;
  std::int64_t device_ms;
  std::int64_t input_tokens;
  std::int64_t output_tokens;
  const char* pico;
};

TEST(AmountOf, IsExactForEveryPart) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const AmountCase cases[] = {
      {"nothing used", {{0}, {0}, {0}, {0}}, StartKind::warm, 500, 7, 7, "0"},
      {"$0.001 per request", {{1'000'000}, {0}, {0}, {0}}, StartKind::warm, 0, 0, 0, "1000000000"},
      {"$0.0001/s for 0.5 s", {{0}, {100'000}, {0}, {0}}, StartKind::warm, 500, 0, 0, "50000000"},
      {"$0.001/1k, one token", {{0}, {0}, {1'000'000}, {0}}, StartKind::cold, 0, 1, 0, "1000000"},
      {"both kinds of token", {{0}, {0}, {3}, {5}}, StartKind::cold, 0, 2, 4, "26"},
      {"one nano for one ms", {{0}, {1}, {0}, {0}}, StartKind::resumed, 1, 0, 0, "1"},
      {"never ran", {{1}, {1}, {1}, {1}}, StartKind::none, 10, 10, 10, "0"},
      {"beyond 64 bits",
       {{0}, {most}, {0}, {0}},
       StartKind::warm,
       most,
       0,
       0,
       "85070591730234615847396907784232501249"},
  };
  for (const AmountCase& c : cases) {
    SCOPED_TRACE(c.name);
    Usage usage;
    usage.start = c.start;
    usage.device_ms = c.device_ms;
    usage.input_tokens = c.input_tokens;
    usage.output_tokens = c.output_tokens;
    EXPECT_EQ(pico_text(amount_of(c.prices, usage)), c.pico);
  }
}

TEST(PicoText, ReadsWhatItWritesAndNothingElse) {
  for (const char* text : {"0", "1", "-1", "170141183460469231731687303715884105727",
                           "-170141183460469231731687303715884105728"}) {
    const std::optional<Pico> amount = parse_pico(text);
    ASSERT_TRUE(amount.has_value()) << text;
    EXPECT_EQ(pico_text(*amount), text);
  }
  for (const char* text :
       {"", "-", "+1", " 1", "1.0", "1e3", "170141183460469231731687303715884105728",
        "-170141183460469231731687303715884105729",
        "99999999999999999999999999999999999999999999"}) {
    EXPECT_FALSE(parse_pico(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace stoker::ledger
