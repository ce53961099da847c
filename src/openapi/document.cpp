#include "openapi/document.h"

#include <fmt/format.h>

#include "base/fnv1a.h"
#include "openapi/document_bytes.h"

namespace stoker::openapi {

std::string_view document() {
  return {reinterpret_cast<const char*>(document_bytes), document_size};
}

const std::string& entity_tag() {
  static const std::string tag = fmt::format("\"{:016x}\"", fnv1a(document()));
  return tag;
}

}  // namespace stoker::openapi
