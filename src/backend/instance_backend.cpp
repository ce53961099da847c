#include "backend/instance_backend.h"

#include <fmt/format.h>

namespace stoker::backend {
namespace {

constexpr std::string_view worker_letters = "abcdefghijklmnopqrstuvwxyz0123456789_-";

bool is_name(std::string_view name) {
  return !name.empty() && name.find_first_of(std::string_view("=\0", 2)) == std::string_view::npos;
}

}  // namespace

Result<void> check_start_request(const StartRequest& request) {
  if (request.worker.empty() ||
      request.worker.find_first_not_of(worker_letters) != std::string::npos) {
    return failure(ErrorCode::invalid, fmt::format("'{}' is not a worker", request.worker));
  }
  if (request.load_order.size() > control_packet_bytes) {
    return failure(ErrorCode::invalid,
                   fmt::format("{}: its load order is {} bytes long, above 64 KiB", request.name,
                               request.load_order.size()),
                   "shorten the deployment's options");
  }
  for (const auto& [name, value] : request.env) {
    if (!is_name(name) || name.starts_with("STOKER_") || value.find('\0') != std::string::npos) {
      return failure(ErrorCode::invalid, fmt::format("environment '{}' cannot be set", name));
    }
  }
  return {};
}

}  // namespace stoker::backend
