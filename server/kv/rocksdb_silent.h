// For directories that are only looked into: without a logger RocksDB would
// begin a log file in them.
#pragma once

#include <memory>

namespace rocksdb {
class Logger;
}

namespace leeward::kv {

std::shared_ptr<rocksdb::Logger> silent_logger();

}  // namespace leeward::kv
