#include "ledger/state_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <set>

#include "support.h"

namespace stoker::ledger {
namespace {

mode_t mode_of(const std::filesystem::path& path) {
  struct stat info{};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

TEST(StateDir, CountsLivesAndKeepsOthersOut) {
  const TempDir dir;
  for (std::uint64_t life = 1; life <= 3; ++life) {
    const Result<StateDir> state = StateDir::open(dir / "deep/state/");
    ASSERT_TRUE(state.has_value()) << state.error().message;
    EXPECT_EQ(state->epoch().value, life);
    EXPECT_EQ(mode_of(state->path()), 0700U);

    const Result<StateDir> second = StateDir::open(dir / "deep/state");
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, ErrorCode::in_use);
    EXPECT_THAT(second.error().message,
                testing::HasSubstr("process " + std::to_string(::getpid())));
  }
}

TEST(StateDir, TheLockGoesWithTheProcess) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    const Result<StateDir> state = StateDir::open(dir.path());
    ::raise(SIGKILL);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const Result<StateDir> state = StateDir::open(dir.path());
  ASSERT_TRUE(state.has_value()) << state.error().message;
  EXPECT_EQ(state->epoch().value, 2U);
}

TEST(StateDir, WaitsForALockThatIsOnItsWayOut) {
  const TempDir dir;
  std::optional<StateDir> state;
  if (Result<StateDir> opened = StateDir::open(dir.path())) state.emplace(std::move(*opened));
  ASSERT_TRUE(state);
  int held[2];
  ASSERT_EQ(::pipe(held), 0);
  const pid_t child = ::fork();  // has the lock too, as one that is about to run a program
  if (child == 0) {
    ::close(held[1]);
    char byte = 0;
    (void)!::read(held[0], &byte, 1);
    ::_exit(0);
  }
  ::close(held[0]);
  state.reset();
  ::close(held[1]);
  const Result<StateDir> again = StateDir::open(dir.path());
  EXPECT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST(StateDir, ClosesItsOwnDirectoryToOthers) {
  struct Case {
    const char* holds;  // a file, or nothing
    mode_t mode;
    bool closed;
  };
  const Case cases[] = {{"", 0755, true},      {"", 0700, false},     {"epoch", 0777, true},
                        {"lock", 0750, true},  {"epoch", 0711, true}, {"epoch", 0700, false},
                        {"notes", 0700, false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.holds) + " " + std::to_string(c.mode));
    const TempDir dir;
    if (*c.holds != '\0') std::ofstream(dir / c.holds) << "3";
    ASSERT_EQ(::chmod(dir.path().c_str(), c.mode), 0);
    const Result<StateDir> state = StateDir::open(dir.path());
    ASSERT_TRUE(state.has_value()) << state.error().message;
    EXPECT_EQ(mode_of(dir.path()), 0700U);
    EXPECT_EQ(state->mode_before(), c.closed ? std::optional(c.mode) : std::nullopt);
  }
}

TEST(StateDir, RefusesWhatIsNotItsOwnAndChangesNothing) {
  const TempDir shared;
  std::ofstream(shared / "notes") << "of somebody";
  ASSERT_EQ(::chmod(shared.path().c_str(), 0755), 0);
  const Result<StateDir> state = StateDir::open(shared.path());
  ASSERT_FALSE(state.has_value());
  EXPECT_EQ(state.error().code, ErrorCode::invalid);
  EXPECT_THAT(state.error().message, testing::HasSubstr("mode 0755"));
  EXPECT_THAT(state.error().hint, testing::HasSubstr("chmod 700"));
  EXPECT_EQ(mode_of(shared.path()), 0755U);
  EXPECT_FALSE(std::filesystem::exists(shared / "lock"));

  const TempDir file;
  std::ofstream(file / "state") << "a file";
  EXPECT_FALSE(StateDir::open(file / "state").has_value());

  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a directory to somebody else";
  const TempDir theirs;
  ASSERT_EQ(::chown(theirs.path().c_str(), 12345, 12345), 0);
  const Result<StateDir> foreign = StateDir::open(theirs.path());
  ASSERT_FALSE(foreign.has_value());
  EXPECT_EQ(foreign.error().code, ErrorCode::invalid);
  EXPECT_THAT(foreign.error().message, testing::HasSubstr("belongs to user 12345"));
  EXPECT_FALSE(std::filesystem::exists(theirs / "lock"));
}

TEST(StateDir, MakesTheAdminKeyOnce) {
  const TempDir dir;
  EXPECT_EQ(load_admin_key(dir.path()).error().code, ErrorCode::not_found);
  Result<StateDir> state = StateDir::open(dir.path());
  ASSERT_TRUE(state.has_value());
  const Result<std::string> key = state->admin_key();
  ASSERT_TRUE(key.has_value()) << key.error().message;
  EXPECT_THAT(*key, testing::MatchesRegex("sk-stoker-admin-[0-9a-f]+"));
  EXPECT_EQ(key->size(), 16U + 40U);
  EXPECT_EQ(mode_of(dir / "admin.key"), 0600U);
  EXPECT_EQ(state->admin_key().value_or(""), *key);
  EXPECT_EQ(load_admin_key(dir.path()).value_or(""), *key);

  std::ofstream(dir / "admin.key") << "hello";
  EXPECT_EQ(state->admin_key().error().code, ErrorCode::corrupt);
  EXPECT_EQ(load_admin_key(dir.path()).error().code, ErrorCode::corrupt);
}

TEST(StateDir, DoesNotGuessAtADamagedEpoch) {
  const TempDir dir;
  for (const char* text : {"", "x", "12x", "-1", "99999999999999999999999"}) {
    std::ofstream(dir / "epoch") << text;
    EXPECT_EQ(StateDir::open(dir.path()).error().code, ErrorCode::corrupt) << text;
  }
}

TEST(StateDir, NoFailureOfTheDiskGivesAnEpochTwice) {
  for (const bool forever : {false, true}) {
    const TempDir dir;
    std::set<std::uint64_t> given;
    for (std::int64_t fail_at = 1;; ++fail_at) {
      ASSERT_LT(fail_at, 100);
      SCOPED_TRACE(fail_at);
      FaultyFileIo io({.fail_at = fail_at, .forever = forever});
      std::optional<std::string> key;
      {
        Result<StateDir> state = StateDir::open(dir.path(), io);
        if (state) {
          EXPECT_TRUE(given.insert(state->epoch().value).second);
          if (Result<std::string> made = state->admin_key()) key = *made;
        }
      }
      io.heal();
      Result<StateDir> state = StateDir::open(dir.path(), io);
      ASSERT_TRUE(state.has_value()) << "not usable after the fault";
      EXPECT_TRUE(given.insert(state->epoch().value).second);
      if (key) {
        EXPECT_EQ(state->admin_key().value_or(""), *key);
      }
      if (!io.tripped()) break;
    }
  }
}

}  // namespace
}  // namespace stoker::ledger
