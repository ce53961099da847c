#include "obs/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <sstream>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace stoker::obs {
namespace {

constexpr WallTime noon{1'769'860'800'123'000'000};  // 2026-01-31T12:00:00.123Z
WallTime at_noon() {
  return noon;
}

TEST(LogLine, Logfmt) {
  EXPECT_EQ(
      format_line(Format::logfmt, noon, Level::info, "instance_ready",
                  {{"instance", "chat/3"},
                   {"load_ms", 1234},
                   {"generation", Generation{7}},
                   {"share", 0.5},
                   {"cold", true}}),
      "time=2026-01-31T12:00:00.123Z level=info event=instance_ready instance=chat/3 load_ms=1234 "
      "generation=7 share=0.5 cold=true");
}

TEST(LogLine, TextIsShortAndAligned) {
  EXPECT_EQ(format_line(Format::text, noon, Level::warn, "disk_full", {{"free_bytes", 0}}),
            "12:00:00.123 warn  disk_full                free_bytes=0");
  EXPECT_EQ(format_line(Format::text, noon, Level::info, "server_ready", {}),
            "12:00:00.123 info  server_ready");
  EXPECT_EQ(format_line(Format::text, noon, Level::info, "e",
                        {{"reason", ""}, {"n", 0}, {"text", std::string()}}),
            "12:00:00.123 info  e                        n=0");
}

TEST(LogLine, Json) {
  EXPECT_EQ(format_line(Format::json, noon, Level::error, "journal_failed",
                        {{"error", "write: \"no\"\nspace"}, {"code", -28}, {"max", ~0ULL}}),
            R"({"time":"2026-01-31T12:00:00.123Z","level":"error","event":"journal_failed",)"
            R"("error":"write: \"no\"\nspace","code":-28,"max":18446744073709551615})");
}

TEST(LogLine, AValueCannotForgeALineAFieldOrATerminalCommand) {
  const std::vector<std::pair<std::string_view, std::string_view>> table = {
      {"plain", "v=plain"},
      {"", "v=\"\""},
      {"two words", "v=\"two words\""},
      {"a\nlevel=error", "v=\"a\\nlevel=error\""},
      {"x=y", "v=\"x=y\""},
      {"say \"hi\"", "v=\"say \\\"hi\\\"\""},
      {"\x1b[2J", "v=\"\\u001b[2J\""},
      {"\x7f", "v=\"\\u007f\""},
      {"\xc2\x9b", "v=\"\\u009b\""},
      {"é", "v=\"é\""},
      {"\xff", "v=\"\xef\xbf\xbd\""},
  };
  for (const auto& [value, expected] : table) {
    const std::string line = format_line(Format::logfmt, noon, Level::info, "e", {{"v", value}});
    EXPECT_TRUE(line.ends_with(" event=e " + std::string(expected))) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST(LogLine, StaysBelowPipeBufWhateverItIsGiven) {
  const std::string long_text(100'000, '\x01');  // six bytes each when escaped
  const std::string letters = "é" + std::string(5'000, 'a');
  for (const Format format : {Format::text, Format::logfmt, Format::json}) {
    const std::string line =
        format_line(format, noon, Level::info, "e",
                    {{"a", long_text}, {"b", long_text}, {"c", letters}, {"last", 1}});
    EXPECT_LT(line.size(), std::size_t{PIPE_BUF});
    EXPECT_NE(line.find("last"), std::string::npos) << "values are cut before fields are dropped";
    EXPECT_NE(line.find("aaa..."), std::string::npos);
  }
  const std::string accents = [] {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += "é";
    return text;
  }();
  const std::string line =
      format_line(Format::json, noon, Level::info, "e", {{"v", "x" + accents}});
  EXPECT_EQ(line.find("\xef\xbf\xbd"), std::string::npos) << "cut between characters";
}

class Pipe {
 public:
  explicit Pipe(int flags = 0) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | flags), 0);
    read_.reset(ends[0]);
    write_.reset(ends[1]);
  }
  [[nodiscard]] int in() const { return write_.get(); }
  /// Everything until now; closes the writing end.
  std::string drain() {
    write_.reset();
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t got = 0; (got = ::read(read_.get(), buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  UniqueFd read_;
  UniqueFd write_;
};

TEST(Logger, WritesWhatItsLevelAllows) {
  Pipe pipe;
  Logger log({.fd = pipe.in(), .level = Level::warn, .now = &at_noon});
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error("d", {{"request", "req-1"}});
  EXPECT_TRUE(log.writes(Level::error));
  EXPECT_FALSE(log.writes(Level::info));
  EXPECT_EQ(pipe.drain(),
            "time=2026-01-31T12:00:00.123Z level=warn event=c\n"
            "time=2026-01-31T12:00:00.123Z level=error event=d request=req-1\n");
}

TEST(Logger, LinesOfManyThreadsNeverMix) {
  Pipe pipe;
  Logger log({.fd = pipe.in(), .format = Format::json, .now = &at_noon});
  constexpr int lines = 50;
  {
    std::vector<std::jthread> writers;
    for (int id = 0; id < 4; ++id) {
      writers.emplace_back([&log, id] {
        // 4 x 50 x about 300 bytes: below the 64 KiB of a pipe, so that nobody has to read.
        const std::string padding(200, static_cast<char>('a' + id));
        for (int i = 0; i < lines; ++i) log.info("line", {{"id", id}, {"padding", padding}});
      });
    }
  }
  std::istringstream all(pipe.drain());
  int count = 0;
  for (std::string line; std::getline(all, line); ++count) {
    const std::size_t at = line.find("\"id\":");
    ASSERT_NE(at, std::string::npos);
    const char letter = static_cast<char>('a' + (line[at + 5] - '0'));
    EXPECT_GE(std::ranges::count(line, letter), 200) << line;
    EXPECT_TRUE(line.ends_with("\"}"));
  }
  EXPECT_EQ(count, 4 * lines);
  EXPECT_EQ(log.lost_lines(), 0U);
}

TEST(Logger, CountsLinesThatAreNotTaken) {
  Logger closed({.fd = -1});
  closed.info("a");
  EXPECT_EQ(closed.lost_lines(), 1U);

  Pipe full(O_NONBLOCK);
  Logger log({.fd = full.in()});
  const std::string padding(1000, 'x');
  for (int i = 0; i < 200; ++i) log.info("line", {{"padding", padding}});
  EXPECT_GT(log.lost_lines(), 0U);
}

}  // namespace
}  // namespace stoker::obs
