// The OpenAPI document of the server's routes, as JSON. Its source is docs/reference/openapi.yaml;
// the build puts it into the program.
#pragma once

#include <string>
#include <string_view>

namespace stoker::openapi {

/// JSON text; lives as long as the program.
[[nodiscard]] std::string_view document();
/// Value of the field ETag, quotes included: another one for another text.
[[nodiscard]] const std::string& entity_tag();

}  // namespace stoker::openapi
