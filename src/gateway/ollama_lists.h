// What Ollama's clients ask about models: which there are, which are in memory, and what one is.
// Digests and sizes of files are not known here and left empty. Pure.
// Source: Ollama's API reference (docs/api.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/directory.h"

namespace stoker::gateway {

/// The level of Ollama's interface that is spoken: clients ask it before they use what is newer.
inline constexpr std::string_view ollama_level = "0.6.4";

[[nodiscard]] std::string ollama_version_json();
[[nodiscard]] std::string ollama_tags_json(const std::vector<DeploymentPtr>& deployments);
[[nodiscard]] std::string ollama_show_json(const Deployment& deployment);
/// `ps_json`: the answer of AdminApi::ps_json().
[[nodiscard]] std::string ollama_ps_json(std::string_view ps_json);
/// The member `model`, or `name` as older clients have it; nullopt if there is none.
[[nodiscard]] std::optional<std::string> ollama_model_of(std::string_view body);

}  // namespace stoker::gateway
