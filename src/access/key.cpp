#include "access/key.h"

#include <algorithm>
#include <array>
#include <utility>

namespace stoker::access {
namespace {

constexpr std::array<std::pair<std::string_view, std::uint8_t>, 3> scope_names = {
    {{"inference", scope::inference}, {"read", scope::read}, {"admin", scope::admin}}};

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string scopes_text(std::uint8_t scopes) {
  std::string text;
  for (const auto& [name, bit] : scope_names) {
    if ((scopes & bit) == 0) continue;
    if (!text.empty()) text += ',';
    text += name;
  }
  return text;
}

std::optional<std::uint8_t> parse_scope(std::string_view word) {
  for (const auto& [name, bit] : scope_names) {
    if (word == name) return bit;
  }
  return std::nullopt;
}

bool Key::may_use(std::string_view deployment) const {
  return deployments.empty() ||
         std::find(deployments.begin(), deployments.end(), deployment) != deployments.end();
}

bool is_tenant_name(std::string_view name) {
  if (name.empty() || name.size() > 63 || !is_lower_or_digit(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return is_lower_or_digit(c) || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace stoker::access
