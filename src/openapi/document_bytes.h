// Defined in a source file that embed/main.cpp writes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stoker::openapi {
extern const std::uint8_t document_bytes[];
extern const std::size_t document_size;
}  // namespace stoker::openapi
