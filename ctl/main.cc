#include <iostream>
#include <string>
#include <vector>

#include "ctl/commands.h"
#include "os/posix_disk.h"

int main(int argc, char** argv) {
  leeward::os::PosixDisk disk;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const int code = leeward::ctl::run(arguments, std::cout, std::cerr, disk);
  if (std::cout.flush()) return code;
  std::cerr << "leewardctl: the output could not be written\n";
  return code == 0 ? 1 : code;
}
