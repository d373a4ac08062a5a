// How many files and sockets this process may have open, and what of that its
// connections may take: a flood of them must leave the state and the log theirs.
#pragma once

#include <cstdint>

namespace leeward::os {

// Raises the soft limit to the hard one, which needs no rights. Returns the
// limit that counts from now on.
std::uint64_t raise_open_files() noexcept;

struct ConnectionShares {
  std::uint64_t client, peer, other;  // other: each of the ports beside
};

// Of `open_files`, when all that the process opens for itself has its own, `tables` of the state among them.
ConnectionShares share_connections(std::uint64_t open_files, std::uint64_t tables) noexcept;

}  // namespace leeward::os
