#include "gateway/directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace stoker::gateway {
namespace {

constexpr std::string_view latest_suffix = ":latest";

std::string_view without_latest(std::string_view name) {
  if (name.ends_with(latest_suffix)) name.remove_suffix(latest_suffix.size());
  return name;
}

}  // namespace

const char* to_text(RuntimeKind kind) {
  switch (kind) {
    case RuntimeKind::llama_cpp:
      return "llama.cpp";
    case RuntimeKind::onnx:
      return "onnx";
    case RuntimeKind::command:
      return "command";
    case RuntimeKind::container:
      return "container";
    case RuntimeKind::echo:
      return "echo";
  }
  return "unknown";
}

Result<DirectoryPtr> Directory::create(std::vector<Deployment> deployments) {
  auto directory = std::make_shared<Directory>();
  std::sort(deployments.begin(), deployments.end(),
            [](const Deployment& a, const Deployment& b) { return a.name < b.name; });
  for (Deployment& given : deployments) {
    auto deployment = std::make_shared<const Deployment>(std::move(given));
    directory->deployments_.push_back(deployment);
    std::vector<std::string> names = deployment->aliases;
    names.push_back(deployment->name);
    for (const std::string& name : names) {
      const auto [known, is_new] =
          directory->by_name_.emplace(std::string(without_latest(name)), deployment);
      if (!is_new && known->second != deployment) {
        return failure(ErrorCode::invalid,
                       fmt::format("the name '{}' is claimed by the deployments '{}' and '{}'",
                                   name, known->second->name, deployment->name),
                       "remove one of the two aliases");
      }
    }
  }
  return DirectoryPtr(std::move(directory));
}

DeploymentPtr Directory::find(std::string_view model) const {
  const auto found = by_name_.find(without_latest(model));
  return found == by_name_.end() ? nullptr : found->second;
}

std::string_view Directory::nearest(std::string_view model) const {
  std::vector<std::string_view> names;
  names.reserve(by_name_.size());
  for (const auto& [name, deployment] : by_name_) names.emplace_back(name);
  return closest(without_latest(model), names).value_or(std::string_view{});
}

}  // namespace stoker::gateway
