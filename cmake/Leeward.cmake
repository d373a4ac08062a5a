# Build rules shared by all folders. Kinds (scripts/build): release, debug,
# asan and tsan set CMAKE_BUILD_TYPE and LEEWARD_SANITIZER.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(LEEWARD_SANITIZER "" CACHE STRING "address,undefined or thread")

find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
find_program(LEEWARD_MOLD mold)
if(LEEWARD_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(-Wall -Wextra -Wno-missing-field-initializers -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
# Asan and tsan instrument; the release build keeps frame pointers for profiles.
add_compile_options(-fno-omit-frame-pointer -g1)
if(LEEWARD_SANITIZER)
  # A report ends the process: a suite with a finding can not pass.
  add_compile_options(-fsanitize=${LEEWARD_SANITIZER} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${LEEWARD_SANITIZER})
endif()
if(LEEWARD_SANITIZER MATCHES address)
  # What the fuzzers steer by; costs the other suites little.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
# CHECKs are ours and stay on; assert() of libraries is left out by NDEBUG.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O0")
if(LEEWARD_SANITIZER)
  # Instrumented and unoptimized the simulations take several times as long, and clusters miss election timeouts.
  set(CMAKE_CXX_FLAGS_DEBUG "-O1")
endif()

# Half of a file's time is headers: several at once make a cold build cost two
# thirds. OFF for an edit at a time.
option(LEEWARD_UNITY "compile several sources of a folder at once" ON)

# leeward_library(NAME DEPS...): all .cc files of this folder as a static library.
function(leeward_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  add_library(leeward_${name} STATIC ${sources})
  target_include_directories(leeward_${name} PUBLIC ${CMAKE_SOURCE_DIR}/server ${CMAKE_SOURCE_DIR})
  target_link_libraries(leeward_${name} PUBLIC Threads::Threads ${ARGN})
  if(LEEWARD_UNITY)
    set_target_properties(leeward_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
  endif()
endfunction()

# leeward_test(NAME DEPS...): all .cc files of this folder as one test binary,
# run by scripts/test as the suite NAME.
function(leeward_test name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE ${ARGN} GTest::gtest GTest::gtest_main)
  if(LEEWARD_UNITY)
    set_target_properties(${name}_test PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 3)
  else()
    target_precompile_headers(${name}_test PRIVATE <gtest/gtest.h> <string> <vector> <map> <memory>)
  endif()
  add_test(NAME ${name} COMMAND ${name}_test)
endfunction()
