#include "gateway/directory.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

Deployment named(std::uint64_t id, std::string name, std::vector<std::string> aliases = {}) {
  Deployment deployment;
  deployment.id = DeploymentId{id};
  deployment.name = std::move(name);
  deployment.aliases = std::move(aliases);
  return deployment;
}

TEST(Directory, FindsNamesAliasesAndIgnoresLatest) {
  const auto directory =
      Directory::create({named(2, "embed"), named(1, "chat", {"org/Chat-7B", "gpt-4:latest"})});
  ASSERT_TRUE(directory);
  for (const char* model : {"chat", "chat:latest", "org/Chat-7B", "org/Chat-7B:latest", "gpt-4"}) {
    const DeploymentPtr found = (*directory)->find(model);
    ASSERT_TRUE(found) << model;
    EXPECT_EQ(found->name, "chat") << model;
  }
  EXPECT_FALSE((*directory)->find("chat:v2"));
  EXPECT_FALSE((*directory)->find(""));
  EXPECT_FALSE((*directory)->find("org/chat-7b"));
  EXPECT_EQ((*directory)->all().front()->name, "chat");
}

TEST(Directory, NamesTheNearest) {
  const auto directory = Directory::create({named(1, "chat", {"org/chat"}), named(2, "embed")});
  ASSERT_TRUE(directory);
  EXPECT_EQ((*directory)->nearest("chta"), "chat");
  EXPECT_EQ((*directory)->nearest("embeds:latest"), "embed");
  EXPECT_EQ((*directory)->nearest("something-else"), "");
}

TEST(Directory, RefusesANameThatTwoClaim) {
  const auto directory = Directory::create({named(1, "a", {"x:latest"}), named(2, "b", {"x"})});
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code, ErrorCode::invalid);
  EXPECT_NE(directory.error().message.find("'x'"), std::string::npos);
}

}  // namespace
}  // namespace stoker::gateway
