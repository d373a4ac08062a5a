// What the storage commands share.
#pragma once

#include <memory>

#include "ctl/commands.h"

namespace leeward::ctl {

// A running node may write what is being read: its directory is left alone.
Result<std::unique_ptr<DirectoryLock>> lock_stopped(Disk& disk, const StoragePlace& place);

}  // namespace leeward::ctl
