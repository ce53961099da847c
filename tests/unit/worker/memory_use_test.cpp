#include "worker/memory_use.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace stoker::worker {
namespace {

constexpr std::size_t weights_bytes = 8 << 20;
/// Pages of libraries count as ours while nobody else maps them; a program that starts meanwhile
/// makes some of them shared.
constexpr Bytes others_change = mib(1);

class MemoryUseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "weights-XXXXXX").string();
    file_.reset(::mkstemp(pattern.data()));
    path_ = pattern;
    ASSERT_EQ(::ftruncate(file_.get(), weights_bytes), 0);
  }
  void TearDown() override { ::unlink(path_.c_str()); }
  MemoryUse measure() const { return measure_memory(self_, std::vector<std::string>{path_}); }

  UniqueFd file_;
  std::string path_;
  const std::array<pid_t, 1> self_ = {::getpid()};
};

TEST_F(MemoryUseTest, MappedWeightsAreSharedEvenWhenOnlyWeMapThem) {
  const MemoryUse before = measure();
  EXPECT_EQ(before.shared_bytes, Bytes{0});
  // Populated by the kernel: under a sanitizer our own touching would cost shadow memory.
  void* const map =
      ::mmap(nullptr, weights_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, file_.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  const MemoryUse after = measure();
  EXPECT_EQ(after.shared_bytes, Bytes{weights_bytes});
  EXPECT_LT(after.private_bytes - before.private_bytes, mib(4));
  ::munmap(map, weights_bytes);
}

TEST_F(MemoryUseTest, WrittenPagesOfThemAreOurOwn) {
  void* const map =
      ::mmap(nullptr, weights_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file_.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  const MemoryUse before = measure();
  for (std::size_t at = 0; at < weights_bytes; at += 4096) static_cast<char*>(map)[at] = 1;
  const MemoryUse after = measure();
  EXPECT_EQ(after.shared_bytes, Bytes{0});
  EXPECT_GE(after.private_bytes - before.private_bytes, Bytes{weights_bytes} - others_change);
  ::munmap(map, weights_bytes);
}

TEST_F(MemoryUseTest, AnonymousMemoryIsOurOwnOnceTouched) {
  const MemoryUse before = measure();
  std::vector<char> memory(weights_bytes, 1);
  const MemoryUse after = measure();
  EXPECT_GE(after.private_bytes - before.private_bytes, Bytes{weights_bytes} - others_change);
  EXPECT_EQ(memory.back(), 1);
}

TEST_F(MemoryUseTest, AProcessThatIsGoneCountsNothing) {
  const std::array<pid_t, 1> nobody = {0x7ffffffe};
  const MemoryUse use = measure_memory(nobody, {});
  EXPECT_EQ(use.private_bytes, Bytes{0});
}

}  // namespace
}  // namespace stoker::worker
