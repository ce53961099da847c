// 128-bit integers, the only place that spells the compiler's extension.
#pragma once

namespace stoker {
__extension__ typedef __int128 Int128;
__extension__ typedef unsigned __int128 Uint128;
}  // namespace stoker
