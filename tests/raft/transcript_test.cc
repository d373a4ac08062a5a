// Every file of transcripts/ is a test: commands, a line of dashes, what they
// made happen, an empty line. LEEWARD_REGENERATE=1 writes the files anew, to be
// reviewed as a diff.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "transcript.h"

namespace leeward::raft::test {
namespace {

namespace fs = std::filesystem;

struct Block {
  std::vector<std::string> commands;  // with comments and empty lines, as written
  std::string expected;
  int line = 0;
};

std::vector<Block> parse(const fs::path& path) {
  std::ifstream in(path);
  std::vector<Block> blocks;
  Block block;
  bool output = false;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (!output && line == "----") {
      output = true;
      block.line = number;
    } else if (output && line.empty()) {
      blocks.push_back(std::move(block));
      block = {};
      output = false;
    } else if (output) {
      block.expected += line + "\n";
    } else {
      block.commands.push_back(line);
    }
  }
  if (output || !block.commands.empty()) blocks.push_back(std::move(block));
  return blocks;
}

std::string run(Transcript& transcript, const Block& block) {
  std::string output;
  for (const std::string& command : block.commands) {
    if (!command.empty() && command[0] != '#') output += transcript.run(command);
  }
  return output.empty() ? "ok\n" : output;
}

std::vector<std::string> files() {
  std::vector<std::string> names;
  for (const auto& file : fs::directory_iterator(LEEWARD_TRANSCRIPTS))
    if (file.path().extension() == ".txt") names.push_back(file.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Transcripts : public ::testing::TestWithParam<std::string> {};

TEST_P(Transcripts, HappensAsWritten) {
  const fs::path path = fs::path(LEEWARD_TRANSCRIPTS) / (GetParam() + ".txt");
  const bool regenerate = std::getenv("LEEWARD_REGENERATE") != nullptr;
  Transcript transcript;
  std::string whole;
  for (const Block& block : parse(path)) {
    const std::string actual = run(transcript, block);
    if (!regenerate) {
      EXPECT_EQ(actual, block.expected) << path.string() << ":" << block.line;
    }
    if (!whole.empty()) whole += "\n";
    for (const std::string& command : block.commands) whole += command + "\n";
    whole += "----\n" + actual;
  }
  EXPECT_FALSE(whole.empty()) << path.string() << " says nothing";
  if (regenerate) std::ofstream(path) << whole;
}

INSTANTIATE_TEST_SUITE_P(All, Transcripts, ::testing::ValuesIn(files()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace leeward::raft::test
