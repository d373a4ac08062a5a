// Without a logger RocksDB begins a log file of its own in the directory: one
// more that a full disk can fail on, and in directories that are only looked
// into one that does not belong there.
#pragma once

#include <memory>

namespace rocksdb {
class Logger;
}

namespace leeward::kv {

std::shared_ptr<rocksdb::Logger> silent_logger();

}  // namespace leeward::kv
