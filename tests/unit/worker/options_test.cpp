#include "worker/options.h"

#include <gtest/gtest.h>

namespace stoker::worker {
namespace {

TEST(Options, ReadsEachKind) {
  OptionReader options(R"({"i":7,"n":0.5,"whole":2,"b":true,"t":"x","l":["a","b"],"d":"200ms",
                           "e":"5 minutes","f":30,"s":"64MiB","z":1000,"r":{"a": [1]}})");
  EXPECT_EQ(options.integer("i", 0), 7);
  EXPECT_EQ(options.number("n", 0), 0.5);
  EXPECT_EQ(options.number("whole", 0), 2.0);
  EXPECT_TRUE(options.boolean("b", false));
  EXPECT_EQ(options.text("t", ""), "x");
  EXPECT_EQ(options.texts("l"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options.duration("d", {}), ms(200));
  EXPECT_EQ(options.duration("e", {}), minutes(5));
  EXPECT_EQ(options.duration("f", {}), ms(30));
  EXPECT_EQ(options.bytes("s", {}), mib(64));
  EXPECT_EQ(options.bytes("z", {}), Bytes{1000});
  EXPECT_EQ(options.raw("r"), R"({"a":[1]})");
  EXPECT_EQ(options.finish(), std::nullopt);
}

TEST(Options, GivesTheFallbackForAbsentAndNull) {
  OptionReader options(R"({"n":null})");
  EXPECT_EQ(options.integer("n", 3), 3);
  EXPECT_EQ(options.text("absent", "x"), "x");
  EXPECT_EQ(options.texts("absent"), std::vector<std::string>{});
  EXPECT_EQ(options.raw("n"), std::nullopt);
  EXPECT_EQ(options.finish(), std::nullopt);
}

TEST(Options, NamesAllProblemsAtOnce) {
  OptionReader options(R"({"threads":0,"contxt":1,"delay":"soon","size":"1.5GiB","list":[1]})");
  EXPECT_EQ(options.integer("threads", 4, {.min = 1, .max = 64}), 4);
  EXPECT_EQ(options.integer("context", 4096), 4096);
  EXPECT_EQ(options.duration("delay", ms(1)), ms(1));
  EXPECT_EQ(options.bytes("size", mib(1)), mib(1));
  EXPECT_TRUE(options.texts("list").empty());
  const std::string problems = options.finish().value_or("");
  EXPECT_NE(problems.find("`threads` is 0, but must be 1 to 64"), std::string::npos) << problems;
  EXPECT_NE(problems.find("unknown option `contxt`; did you mean `context`?"), std::string::npos)
      << problems;
  EXPECT_NE(problems.find("`delay` must be a time"), std::string::npos) << problems;
  EXPECT_NE(problems.find("`size` must be a size"), std::string::npos) << problems;
  EXPECT_NE(problems.find("`list` must be a list of texts"), std::string::npos) << problems;
}

TEST(Options, RefusesWhatIsNoObjectAndWhatOverflows) {
  EXPECT_TRUE(OptionReader("[1]").finish());
  EXPECT_TRUE(OptionReader("").finish());
  OptionReader options(R"({"d":"9223372036854775807 hours","s":"9999999999TiB","m":-1})");
  EXPECT_EQ(options.duration("d", ms(1)), ms(1));
  EXPECT_EQ(options.bytes("s", mib(1)), mib(1));
  EXPECT_EQ(options.duration("m", ms(2)), ms(2));
  EXPECT_TRUE(options.finish());
}

}  // namespace
}  // namespace stoker::worker
