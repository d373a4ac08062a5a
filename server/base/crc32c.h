// CRC-32C (Castagnoli), as iSCSI and RFC 3720 define it. By the processor's
// instruction where there is one.
#pragma once

#include <cstdint>
#include <string_view>

namespace leeward {

// Continue a checksum by passing the earlier result.
std::uint32_t crc32c(std::string_view data, std::uint32_t crc = 0);

}  // namespace leeward
