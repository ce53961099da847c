// The bounded row of files.
#include "traffic/rotating_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support.h"

namespace stoker::traffic {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string line(std::size_t size) {
  return std::string(size - 1, 'x') + "\n";
}

TEST(RotatingFiles, NothingIsMadeBeforeTheFirstLine) {
  const TempDir folder;
  const RotatingFiles files({folder / "traffic", Bytes{100}, Bytes{300}});
  EXPECT_TRUE(files.wants_new(1));
  EXPECT_FALSE(std::filesystem::exists(folder / "traffic"));
}

TEST(RotatingFiles, TheOldestGoSoThatAllStayWithinTheirBound) {
  const TempDir folder;
  RotatingFiles files({folder / "traffic", Bytes{100}, Bytes{300}});
  for (int i = 0; i < 40; ++i) {
    if (files.wants_new(40)) {
      ASSERT_TRUE(files.begin(line(20)));
    }
    ASSERT_TRUE(files.append(line(40)));
    std::uintmax_t all = 0;
    for (const std::string& name : names_in(folder / "traffic")) {
      all += std::filesystem::file_size(folder / ("traffic/" + name));
    }
    EXPECT_LE(all, 300U);
  }
  EXPECT_THAT(names_in(folder / "traffic"),
              ElementsAre("traffic-0000000018.jsonl", "traffic-0000000019.jsonl",
                          "traffic-0000000020.jsonl"));
  EXPECT_EQ(std::filesystem::status(folder / "traffic").permissions(),
            std::filesystem::perms::owner_all);
}

TEST(RotatingFiles, AnotherLifeBeginsANewFileAndKeepsTheBound) {
  const TempDir folder;
  for (int life = 0; life < 5; ++life) {
    RotatingFiles files({folder / "traffic", Bytes{100}, Bytes{200}});
    EXPECT_TRUE(files.wants_new(1));
    ASSERT_TRUE(files.begin(line(60)));
  }
  EXPECT_THAT(names_in(folder / "traffic"),
              ElementsAre("traffic-0000000004.jsonl", "traffic-0000000005.jsonl"));
  std::ofstream(folder / "traffic/notes.txt") << "not ours";
  std::ofstream(folder / "traffic/traffic-x.jsonl") << "not ours";
  const RotatingFiles files({folder / "traffic", Bytes{100}, Bytes{200}});
  EXPECT_THAT(files.paths(), ElementsAre(folder / "traffic/traffic-0000000005.jsonl",
                                         folder / "traffic/traffic-0000000004.jsonl"));
}

TEST(RotatingFiles, ThereAreNeverMoreThanAThousand) {
  const TempDir folder;
  RotatingFiles files({folder / "traffic", Bytes{10}, Bytes{1 << 30}});
  for (int i = 0; i < 1010; ++i) ASSERT_TRUE(files.begin("x\n"));
  EXPECT_THAT(names_in(folder / "traffic"), SizeIs(RotatingFiles::most_files));
}

TEST(RotatingFiles, AFullDiskLeavesNoFileWithoutAFirstLine) {
  const TempDir folder;
  Disk disk;
  RotatingFiles files({folder / "traffic", Bytes{100}, Bytes{300}}, disk);
  disk.full = true;
  disk.rest = 7;
  const Result<void> begun = files.begin(line(20));
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, ErrorCode::no_capacity);
  EXPECT_THAT(begun.error().hint, ::testing::HasSubstr("traffic.total_size"));
  EXPECT_THAT(names_in(folder / "traffic"), IsEmpty());
  EXPECT_TRUE(files.wants_new(1));
  disk.full = false;
  ASSERT_TRUE(files.begin(line(20)));
  // A line that is cut ends its file.
  disk.full = true;
  disk.rest = 5;
  EXPECT_FALSE(files.append(line(40)));
  EXPECT_TRUE(files.wants_new(1));
  disk.full = false;
  ASSERT_TRUE(files.begin(line(20)));
  EXPECT_EQ(content(folder / "traffic/traffic-0000000001.jsonl").size(), 25U);
  EXPECT_EQ(content(folder / "traffic/traffic-0000000002.jsonl"), line(20));
}

}  // namespace
}  // namespace stoker::traffic
